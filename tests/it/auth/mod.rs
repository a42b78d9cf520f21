//! App-user auth (contract 06).

mod account;
mod administration;
mod authenticator;
mod errors;
mod functions;
mod google;
mod hosted;
mod hostile;
mod identities;
mod issuer;
mod keys;
mod limits;
mod magic_links;
mod passkeys;
mod passwords;
mod revocation;
mod tokens;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::{Answer, Api, Appliance, Call, Project};

pub const PASSWORD: &str = "correct horse battery";

/// A project's users.
#[derive(Clone)]
pub struct Pool {
    pub api: Api,
    pub project: Project,
}

impl Pool {
    pub async fn new() -> Self {
        Self::on(Appliance::shared()).await
    }

    pub async fn on(appliance: &Appliance) -> Self {
        let api = appliance.api();
        let project = api.provision().await;
        Self { api, project }
    }

    /// A call with the anon key.
    pub fn post(&self, path: &str, body: &Value) -> Call {
        self.api.post(path).api_key(&self.project.anon_key).json(body)
    }

    /// A call with the service key.
    pub fn service(&self, call: Call) -> Call {
        call.api_key(&self.project.anon_key).bearer(&self.project.service_key)
    }

    pub async fn sign_up(&self, email: &str) -> Value {
        self.post("/auth/v1/signup", &json!({"email": email, "password": PASSWORD})).send().await.is(201)
    }

    pub async fn try_log_in(&self, email: &str, password: &str) -> Answer {
        self.post("/auth/v1/token?grant_type=password", &json!({"email": email, "password": password})).send().await
    }

    pub async fn log_in(&self, email: &str) -> Tokens {
        Tokens::of(&self.try_log_in(email, PASSWORD).await.is(200))
    }

    pub async fn try_refresh(&self, token: &str) -> Answer {
        self.post("/auth/v1/token?grant_type=refresh_token", &json!({"refresh_token": token})).send().await
    }

    pub async fn user(&self, token: &str) -> Answer {
        self.api.get("/auth/v1/user").api_key(&self.project.anon_key).bearer(token).send().await
    }

    pub async fn settings(&self, changes: Value) -> Value {
        self.service(self.api.patch("/auth/v1/settings")).json(&changes).send().await.is(200)
    }

    pub async fn ask_link(&self, email: &str) -> Answer {
        let body = json!({"email": email, "redirect_url": "http://localhost:5173/cb?x=1#frag"});
        self.post("/auth/v1/magic-link", &body).send().await
    }

    pub async fn try_link(&self, token: &str) -> Answer {
        self.post("/auth/v1/token?grant_type=magic_link", &json!({"token": token})).send().await
    }

    /// Captured mail to an address, newest first.
    pub async fn mail(&self, appliance: &Appliance, to: &str) -> Vec<Value> {
        let query: String = url::form_urlencoded::Serializer::new(String::new())
            .append_pair("to", to)
            .append_pair("project_id", &self.project.id)
            .finish();
        let path = format!("/admin/v1/mail/captured?{query}");
        let body = self.api.get(&path).admin_key(&appliance.admin_key()).send().await.is(200);
        body["messages"].as_array().expect("a list").clone()
    }

    /// The token in the newest mail to an address.
    pub async fn mailed_token(&self, appliance: &Appliance, to: &str) -> String {
        let mail = self.mail(appliance, to).await;
        let text = mail.first().expect("a mail")["text"].as_str().expect("text").to_owned();
        let link = text.split_whitespace().find(|word| word.starts_with("http")).expect("a link").to_owned();
        let url = url::Url::parse(&link).expect("a URL");
        url.query_pairs().find(|(name, _)| name == "token").expect("a token").1.into_owned()
    }
}

/// The tokens of a sign-in.
#[derive(Clone, Debug)]
pub struct Tokens {
    pub access: String,
    pub refresh: String,
    pub body: Value,
}

impl Tokens {
    pub fn of(body: &Value) -> Self {
        let text = |key: &str| body[key].as_str().unwrap_or_else(|| panic!("{key} in {body}")).to_owned();
        Self { access: text("access_token"), refresh: text("refresh_token"), body: body.clone() }
    }

    pub fn claims(&self) -> Value {
        part(&self.access, 1)
    }
}

/// Header (0) or claims (1) of a token, not verified.
pub fn part(token: &str, index: usize) -> Value {
    let part = token.split('.').nth(index).expect("three parts");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).expect("base64url")).expect("JSON")
}
