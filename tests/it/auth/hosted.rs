//! Browser sessions and hosted pages on a project host (06 §10-11; checks 16, 17, 20-22, 28, 30).

use reqwest::Method;
use serde_json::{Value, json};

use super::{PASSWORD, Pool, authenticator::Authenticator, google};
use crate::support::{Answer, Appliance, Call, control};

/// A project's site as a browser sees it.
#[derive(Clone)]
pub struct Site {
    pub pool: Pool,
    pub host: String,
    pub cookie: Option<String>,
}

impl Site {
    pub async fn on(appliance: &Appliance) -> Self {
        let pool = Pool::on(appliance).await;
        let public: String = control::control(appliance)
            .await
            .query_one("select public_id from projects where id = $1", &[&pool.project.id])
            .await
            .expect("the project")
            .get(0);
        let port = appliance.address().rsplit_once(':').expect("a port").1;
        let host = format!("pr-{public}.localhost:{port}");
        Self { pool, host, cookie: None }
    }

    pub async fn new() -> Self {
        Self::on(Appliance::shared()).await
    }

    /// With a claimed name, as a deploy makes it.
    pub async fn claimed() -> Self {
        let appliance = Appliance::shared();
        let pool = Pool::on(appliance).await;
        let name = format!("s{}", hex::encode(rand::random::<[u8; 6]>()));
        let (replace, objects) = crate::support::deploy::site(&[("index.html", "home")]);
        let spec = json!({"site": {"replace": replace}, "subdomains": {"set": [name]}});
        pool.project.deploy(&spec, &objects).await;
        let port = appliance.address().rsplit_once(':').expect("a port").1;
        Self { pool, host: format!("{name}.localhost:{port}"), cookie: None }
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.host)
    }

    pub fn call(&self, method: Method, path: &str) -> Call {
        let call = self.pool.api.call(method, path).header("host", &self.host);
        match &self.cookie {
            Some(cookie) => call.header("cookie", cookie),
            None => call,
        }
    }

    pub async fn get(&self, path: &str) -> Answer {
        self.call(Method::GET, path).header("accept", "text/html").send().await
    }

    /// A form of the site's own page.
    pub fn form(&self, path: &str, fields: &[(&str, &str)]) -> Call {
        let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        self.call(Method::POST, path)
            .header("accept", "text/html")
            .header("origin", &self.origin())
            .body("application/x-www-form-urlencoded", body.into_bytes())
    }

    pub async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        self.form(path, fields).send().await
    }

    pub fn json(&self, path: &str, body: &Value) -> Call {
        self.call(Method::POST, path).header("accept", "application/json").header("origin", &self.origin()).json(body)
    }

    /// The same browser after an answer.
    pub fn after(&self, answer: &Answer) -> Self {
        let cookie = session_cookie(answer).map(|value| value.split(';').next().expect("a pair").to_owned());
        Self { cookie, ..self.clone() }
    }

    pub async fn signed_in(email: &str) -> Self {
        Self::signed_in_on(Appliance::shared(), email).await
    }

    pub async fn signed_in_on(appliance: &Appliance, email: &str) -> Self {
        let site = Self::on(appliance).await;
        site.pool.sign_up(email).await;
        site.enter(email).await
    }

    pub async fn enter(&self, email: &str) -> Self {
        let answer = self.post("/auth/sign-in", &[("email", email), ("password", PASSWORD), ("returnTo", "/in")]).await;
        assert_eq!((answer.status.as_u16(), answer.header("location")), (303, Some("/in")), "{answer}");
        self.after(&answer)
    }

    pub async fn session(&self) -> Value {
        self.call(Method::GET, "/auth/v1/session").send().await.is(200)
    }

    pub async fn csrf(&self) -> String {
        self.session().await["csrf_token"].as_str().expect("a token").to_owned()
    }

    pub async fn age(&self, minutes: i32) {
        let id = self.cookie.as_deref().and_then(|cookie| cookie.split('.').nth(1)).expect("a session").to_owned();
        control::move_time(
            Appliance::shared(),
            "update app_sessions set auth_time = auth_time - make_interval(mins => $2) where id = $1::text::uuid",
            &[&id, &minutes],
        )
        .await;
    }
}

pub fn session_cookie(answer: &Answer) -> Option<String> {
    let mut cookies = answer.headers.get_all("set-cookie").iter().map(|value| value.to_str().expect("text").to_owned());
    cookies.find(|cookie| cookie.contains("r402_session="))
}

pub fn page(answer: &Answer) -> String {
    assert!(answer.header("content-type").is_some_and(|kind| kind.starts_with("text/html")), "{answer}");
    let policy = answer.header("content-security-policy").expect("a policy");
    assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
    assert_eq!(answer.header("x-frame-options"), Some("DENY"));
    assert_eq!(answer.header("cache-control"), Some("no-store"));
    assert!(answer.header("access-control-allow-origin").is_none(), "never on pages");
    String::from_utf8(answer.body.clone()).expect("text")
}

#[tokio::test]
async fn a_form_signs_in_with_a_host_only_cookie() {
    let site = Site::new().await;
    site.pool.sign_up("ann@example.com").await;
    let html = page(&site.get("/auth/sign-in?returnTo=/x").await);
    assert!(html.contains("action=\"/auth/sign-in\"") && html.contains("value=\"/x\""), "{html}");
    let answer =
        site.post("/auth/sign-in", &[("email", "ann@example.com"), ("password", PASSWORD), ("returnTo", "/x?y")]).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, Some("/x?y")), "{answer}");
    let cookie = session_cookie(&answer).expect("a cookie");
    assert!(cookie.starts_with("r402_session=v1."), "{cookie}");
    assert!(cookie.contains("Path=/") && cookie.contains("HttpOnly") && cookie.contains("SameSite=Lax"), "{cookie}");
    assert!(!cookie.contains("Domain") && !cookie.contains("Secure"), "{cookie}");
    let browser = site.after(&answer);
    let session = browser.session().await;
    assert_eq!(session["authenticated"], true);
    assert_eq!(session["user"]["email"], "ann@example.com");
    assert_eq!(session["csrf_token"].as_str().expect("a token").len(), 32);
    let again = browser.get("/auth/sign-in?returnTo=/y").await;
    assert_eq!((again.status.as_u16(), again.header("location")), (303, Some("/y")));
    assert_eq!(
        site.session().await,
        json!({"authenticated": false, "user": null, "expires_at": null, "csrf_token": null})
    );
}

#[tokio::test]
async fn https_behind_a_trusted_proxy_gets_the_prefixed_cookie() {
    let appliance = Appliance::plan().set("trusted_proxies", "[\"127.0.0.1\"]").boot();
    let site = Site::on(&appliance).await;
    site.pool.sign_up("ann@example.com").await;
    let name = site.host.split(':').next().expect("a name").to_owned();
    let fields = [("email", "ann@example.com"), ("password", PASSWORD)];
    let secure = |origin: &str| {
        site.form("/auth/sign-in", &fields)
            .header("host", &name)
            .header("x-forwarded-proto", "https")
            .header("origin", origin)
            .send()
    };
    let answer = secure(&format!("https://{name}")).await;
    assert_eq!(answer.status, 303, "{answer}");
    let cookie = session_cookie(&answer).expect("a cookie");
    assert!(cookie.starts_with("__Host-Http-r402_session=v1.") && cookie.ends_with("; Secure"), "{cookie}");
    assert!(!cookie.contains("Domain"), "{cookie}");
    secure(&format!("http://{name}")).await;
    assert_eq!(secure(&format!("http://{name}")).await.status, 403);
    // Plain HTTP does not know the cookie of HTTPS.
    let plain = Site { cookie: Some(cookie.split(';').next().expect("a pair").to_owned()), ..site.clone() };
    assert_eq!(plain.session().await["authenticated"], false);
}

#[tokio::test]
async fn posts_from_elsewhere_are_refused() {
    let site = Site::new().await;
    site.pool.sign_up("ann@example.com").await;
    let fields = [("email", "ann@example.com"), ("password", PASSWORD)];
    let name = site.host.split(':').next().expect("a name").to_owned();
    for origin in [
        "https://evil.example",
        "null",
        "",
        &format!("https://{}", site.host),
        &format!("http://{name}"),
        "http://localhost",
    ] {
        let answer = site
            .form("/auth/sign-in", &fields)
            .header("origin", origin)
            .header("accept", "application/json")
            .send()
            .await;
        assert_eq!(answer.json()["code"], "R402_AUTH_CSRF_ORIGIN_MISMATCH", "{origin}: {answer}");
        assert_eq!(answer.status, 403);
        assert!(session_cookie(&answer).is_none());
    }
    let html = page(&site.form("/auth/sign-in", &fields).header("origin", "null").send().await);
    assert!(html.contains("R402_AUTH_CSRF_ORIGIN_MISMATCH"), "{html}");
    // No Origin: the Referer stands in; neither: refused.
    let body = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
    let bare = || {
        site.call(Method::POST, "/auth/sign-in").body("application/x-www-form-urlencoded", body.clone().into_bytes())
    };
    assert_eq!(bare().send().await.status, 403);
    assert_eq!(bare().header("referer", "https://evil.example/").send().await.status, 403);
    assert_eq!(bare().header("referer", &format!("{}/auth/sign-in", site.origin())).send().await.status, 303);
}

#[tokio::test]
async fn no_encoding_of_return_to_leads_away() {
    let site = Site::new().await;
    site.pool.sign_up("ann@example.com").await;
    for target in [
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "https://evil.example/",
        "https:evil.example",
        "http://localhost@evil.example/",
        "javascript:alert(1)",
        "/\t/evil.example",
        "/a\r\nSet-Cookie: x=y",
        " //evil.example",
        "//evil.example/%2f..",
    ] {
        let fields = [("email", "ann@example.com"), ("password", PASSWORD), ("returnTo", target)];
        let answer = site.form("/auth/sign-in", &fields).header("accept", "application/json").send().await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["code"].as_str()),
            (400, Some("R402_AUTH_RETURN_TO_INVALID")),
            "{target:?}"
        );
        assert!(session_cookie(&answer).is_none());
        let query = url::form_urlencoded::Serializer::new(String::new()).append_pair("returnTo", target).finish();
        for page in ["sign-in", "sign-up", "sign-out", "re-auth", "passkeys/login"] {
            assert_eq!(site.get(&format!("/auth/{page}?{query}")).await.status, 400, "{page} {target:?}");
        }
    }
    let twice = site
        .post(
            "/auth/sign-in",
            &[("email", "ann@example.com"), ("password", PASSWORD), ("returnTo", "/%2F%2Fevil.example")],
        )
        .await;
    assert_eq!(twice.header("location"), Some("/%2F%2Fevil.example"), "a path stays a path");
}

#[tokio::test]
async fn the_api_host_never_sets_a_cookie() {
    let pool = Pool::new().await;
    pool.sign_up("ann@example.com").await;
    let body = format!("email=ann%40example.com&password={}", PASSWORD.replace(' ', "+")).into_bytes();
    let answer = pool
        .api
        .post("/auth/sign-in")
        .header("origin", &pool.api.base_url())
        .header("accept", "application/json")
        .body("application/x-www-form-urlencoded", body)
        .send()
        .await;
    assert_eq!(
        (answer.status.as_u16(), answer.json()["code"].as_str()),
        (403, Some("R402_AUTH_TENANT_SUFFIX_REQUIRED"))
    );
    assert!(answer.header("set-cookie").is_none());
    assert_eq!(pool.api.get("/auth/v1/session").send().await.json()["code"], "R402_AUTH_TENANT_SUFFIX_REQUIRED");
}

#[tokio::test]
async fn a_failed_sign_in_tells_nothing() {
    let site = Site::new().await;
    site.pool.sign_up("ann@example.com").await;
    site.pool
        .service(site.pool.api.post("/auth/v1/admin/users"))
        .json(&json!({"email": "nopw@example.com"}))
        .send()
        .await
        .is(200);
    let mut pages = Vec::new();
    for email in ["ann@example.com", "nopw@example.com", "nobody@example.com"] {
        let answer = site.post("/auth/sign-in", &[("email", email), ("password", "wrong password")]).await;
        assert_eq!(answer.status, 401);
        let html = page(&answer).replace(email, "");
        let nonce = html.split("nonce=\"").nth(1).and_then(|rest| rest.split('"').next()).expect("a nonce").to_owned();
        pages.push(html.replace(&nonce, ""));
        let json = site
            .form("/auth/sign-in", &[("email", email), ("password", "wrong password")])
            .header("accept", "application/json");
        let body = json.send().await.json();
        assert_eq!(body["code"], "R402_AUTH_INVALID_CREDENTIALS");
        assert_eq!(body["message"], "The e-mail address or the password is wrong.");
    }
    assert!(pages.windows(2).all(|pair| pair[0] == pair[1]));
}

#[tokio::test]
async fn a_sign_up_signs_in_and_a_taken_address_hears_of_it_by_mail() {
    let site = Site::new().await;
    let fields = [("email", "ann@example.com"), ("password", PASSWORD), ("returnTo", "/hi")];
    let answer = site.post("/auth/sign-up", &fields).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, Some("/hi")), "{answer}");
    assert_eq!(site.after(&answer).session().await["user"]["email"], "ann@example.com");
    let again = site.post("/auth/sign-up", &fields).await;
    assert_eq!(again.status, 400);
    assert!(session_cookie(&again).is_none());
    let html = page(&again);
    assert!(!html.contains("exists") && html.contains("could not be created"), "{html}");
    let mail = site.pool.mail(Appliance::shared(), "ann@example.com").await;
    assert_eq!(mail[0]["template"], "notification");
    let short = site.post("/auth/sign-up", &[("email", "b@example.com"), ("password", "1234567")]).await;
    assert_eq!(short.status, 400);
    site.pool.settings(json!({"public_signup": "invite_only"})).await;
    let closed = site.post("/auth/sign-up", &[("email", "c@example.com"), ("password", PASSWORD)]).await;
    assert_eq!(closed.status, 403);
    assert!(page(&closed).contains("SIGNUP_DISABLED"));
}

#[tokio::test]
async fn signing_out_needs_the_forms_token_and_kills_the_cookie() {
    let site = Site::signed_in("ann@example.com").await;
    let csrf = site.csrf().await;
    assert!(page(&site.get("/auth/sign-out").await).contains(&csrf));
    let mut wrong = csrf.clone();
    wrong.replace_range(..1, if csrf.starts_with('0') { "1" } else { "0" });
    for token in [wrong.as_str(), "", &csrf[..31]] {
        let call = site.form("/auth/sign-out", &[("_csrf", token)]).header("accept", "application/json");
        let answer = call.send().await;
        assert_eq!(
            (answer.status.as_u16(), answer.json()["code"].as_str()),
            (403, Some("R402_AUTH_CSRF_TOKEN_MISMATCH"))
        );
    }
    let answer = site.post("/auth/sign-out", &[("_csrf", &csrf), ("returnTo", "/bye")]).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, Some("/bye")), "{answer}");
    assert!(
        session_cookie(&answer)
            .is_some_and(|cookie| cookie.starts_with("r402_session=;") && cookie.contains("Max-Age=0"))
    );
    assert_eq!(site.session().await["authenticated"], false, "the old cookie is dead");
}

#[tokio::test]
async fn every_sign_in_is_a_new_session_and_the_old_one_ends() {
    let site = Site::signed_in("ann@example.com").await;
    let again = site.enter("ann@example.com").await;
    assert_ne!(site.cookie, again.cookie);
    assert_eq!(site.session().await["authenticated"], false, "no fixation");
    assert_eq!(again.session().await["authenticated"], true);
    // A planted cookie is not taken over.
    let planted =
        Site { cookie: Some(format!("r402_session=v1.{}.{}", uuid::Uuid::new_v4(), "a".repeat(43))), ..site.clone() };
    let fresh = planted.enter("ann@example.com").await;
    assert_ne!(fresh.cookie, planted.cookie);
}

#[tokio::test]
async fn a_cookie_belongs_to_its_host_and_its_secret() {
    let site = Site::signed_in("ann@example.com").await;
    let cookie = site.cookie.clone().expect("a cookie");
    let other = Site { cookie: Some(cookie.clone()), ..Site::new().await };
    assert_eq!(other.session().await["authenticated"], false);
    let (start, secret) = cookie.rsplit_once('.').expect("parts");
    let spoilt = if secret.starts_with('A') { secret.replacen('A', "B", 1) } else { format!("A{}", &secret[1..]) };
    for value in [
        format!("{start}.{spoilt}"),
        format!("{start}."),
        start.to_owned(),
        "r402_session=".into(),
        "r402_session=v1".into(),
    ] {
        let forged = Site { cookie: Some(value.clone()), ..site.clone() };
        let answer = forged.call(Method::GET, "/auth/v1/session").send().await;
        assert_eq!(answer.is(200)["authenticated"], false, "{value}");
        assert!(
            session_cookie(&answer).is_some_and(|cookie| cookie.contains("Max-Age=0")),
            "{value}: it is taken away"
        );
    }
    let twice = Site { cookie: Some(format!("{cookie}; r402_session=v1.x.y")), ..site.clone() };
    assert_eq!(twice.session().await["authenticated"], false);
}

#[tokio::test]
async fn a_bearer_beside_the_cookie_must_be_of_the_same_user() {
    let site = Site::signed_in("ann@example.com").await;
    site.pool.sign_up("bob@example.com").await;
    let (ann, bob) = (site.pool.log_in("ann@example.com").await, site.pool.log_in("bob@example.com").await);
    let with = |token: &str| site.call(Method::GET, "/auth/v1/session").bearer(token).send();
    assert_eq!(with(&ann.access).await.is(200)["authenticated"], true);
    let mismatch = with(&bob.access).await;
    assert_eq!(
        (mismatch.status.as_u16(), mismatch.json()["code"].as_str()),
        (400, Some("R402_AUTH_BEARER_COOKIE_MISMATCH"))
    );
    let garbage = with("garbage").await;
    assert_eq!((garbage.status.as_u16(), garbage.json()["code"].as_str()), (401, Some("R402_AUTH_INVALID_BEARER")));
}

#[tokio::test]
async fn a_magic_link_page_consumes_nothing_until_its_button() {
    let site = Site::new().await;
    site.pool.sign_up("ann@example.com").await;
    let sent = site.post("/auth/magic-link/send", &[("email", "ann@example.com"), ("returnTo", "/back")]).await;
    assert_eq!(sent.status, 200, "{sent}");
    let unknown = site.post("/auth/magic-link/send", &[("email", "nobody@example.com"), ("returnTo", "/back")]).await;
    assert_eq!(unknown.status, 200);
    let token = site.pool.mailed_token(Appliance::shared(), "ann@example.com").await;
    for _ in 0..2 {
        let html = page(&site.get(&format!("/auth/magic-link?returnTo=%2Fback&token={token}")).await);
        assert!(html.contains("action=\"/auth/magic-link/confirm\""), "{html}");
    }
    // It is no token for the machine API.
    site.pool.try_link(&token).await.refused(401, "R402_AUTH_MAGIC_LINK_INVALID");
    let answer = site.post("/auth/magic-link/confirm", &[("token", &token), ("returnTo", "/back")]).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, Some("/back")), "{answer}");
    assert_eq!(site.after(&answer).session().await["authenticated"], true);
    let again = site.post("/auth/magic-link/confirm", &[("token", &token)]).await;
    assert_eq!(again.status, 410);
    assert!(page(&again).contains("R402_AUTH_MAGIC_LINK_INVALID"));
    assert_eq!(site.get(&format!("/auth/magic-link?token={token}")).await.status, 410);
    assert_eq!(site.get("/auth/magic-link?token=unknown").await.status, 400);
    assert_eq!(site.post("/auth/magic-link/confirm", &[("token", "unknown")]).await.status, 400);
}

#[tokio::test]
async fn google_ends_in_a_cookie_of_the_browser_that_began() {
    let (appliance, issuer) = google::with_issuer();
    let site = Site::on(appliance).await;
    let started = site.get("/auth/sign-in/oauth/google/start?returnTo=/home").await;
    assert_eq!(started.status, 303, "{started}");
    let tie = started.header("set-cookie").expect("a cookie").split(';').next().expect("a pair").to_owned();
    let claims = json!({"sub": "h1", "email": "h@example.com", "email_verified": true});
    let (code, state) = issuer.signs_in(started.header("location").expect("a location"), &claims);
    let callback = site.pool.api.get(&format!("/auth/v1/oauth/google/callback?code={code}&state={state}")).send().await;
    let landing = callback.header("location").expect("a location").to_owned();
    let path = landing.strip_prefix(&site.origin()).expect("the project's host").to_owned();
    assert!(path.starts_with("/auth/oauth/complete?handoff="), "{path}");
    let with = Site { cookie: Some(tie), ..site.clone() };
    let answer = with.get(&path).await;
    assert_eq!((answer.status.as_u16(), answer.header("location")), (303, Some("/home")), "{answer}");
    assert_eq!(site.after(&answer).session().await["user"]["email"], "h@example.com");
    let again = with.get(&path).await;
    assert_eq!(again.status, 400);
    assert!(page(&again).contains("R402_AUTH_OAUTH_HANDOFF_INVALID"));
    // Another browser cannot take the handoff.
    let started = site.get("/auth/sign-in/oauth/google/start").await;
    let (code, state) = issuer.signs_in(started.header("location").expect("a location"), &claims);
    let callback = site.pool.api.get(&format!("/auth/v1/oauth/google/callback?code={code}&state={state}")).send().await;
    let path =
        callback.header("location").expect("a location").strip_prefix(&site.origin()).expect("its host").to_owned();
    assert_eq!(site.get(&path).await.status, 400);
    // A failure comes back to the sign-in page.
    let started = site.get("/auth/sign-in/oauth/google/start?returnTo=/home").await;
    let (_, state) = issuer.signs_in(started.header("location").expect("a location"), &claims);
    let denied =
        site.pool.api.get(&format!("/auth/v1/oauth/google/callback?error=access_denied&state={state}")).send().await;
    let location = denied.header("location").expect("a location");
    assert_eq!(location, format!("{}/auth/sign-in?returnTo=%2Fhome&r402_auth_error=access_denied", site.origin()));
    let html = page(&site.get("/auth/sign-in?returnTo=/home&r402_auth_error=account_exists_requires_link").await);
    assert!(html.contains("link Google"), "{html}");
}

#[tokio::test]
async fn pages_of_a_closed_door_lead_to_the_open_one() {
    let site = Site::new().await;
    for page in ["/auth/re-auth", "/auth/passkeys/register"] {
        let answer = site.get(page).await;
        assert_eq!(answer.status, 303, "{answer}");
        assert!(answer.header("location").is_some_and(|to| to.starts_with("/auth/sign-in?returnTo=")), "{answer}");
    }
    let answer = site.json("/auth/passkeys/register/options", &json!({"app_origin": site.origin()})).send().await;
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (401, Some("R402_AUTH_REQUIRED")));
}

#[tokio::test]
async fn a_passkey_of_the_site_signs_in_without_a_password() {
    let site = Site::claimed().await;
    site.pool.sign_up("ann@example.com").await;
    let browser = site.enter("ann@example.com").await;
    assert!(page(&site.get("/auth/sign-in").await).contains("/auth/passkeys/login"));
    assert!(page(&browser.get("/auth/passkeys/register?returnTo=/me").await).contains("Add a passkey"));
    let origin = site.origin();
    let challenge =
        browser.json("/auth/passkeys/register/options", &json!({"app_origin": origin})).send().await.is(200);
    let name = site.host.split(':').next().expect("a name");
    assert_eq!(challenge["options"]["rp"]["id"], name);
    let mut authenticator = Authenticator::new();
    let response = authenticator.register(&challenge["options"], &origin);
    let body = json!({"challenge_id": challenge["challenge_id"], "response": response, "label": "Laptop"});
    let record = browser.json("/auth/passkeys/register/verify", &body).send().await.is(200);
    assert_eq!((&record["rp_id"], &record["label"]), (&json!(name), &json!("Laptop")));

    let html = page(&site.get("/auth/passkeys/login?returnTo=/me").await);
    assert!(html.contains("navigator.credentials.get"), "{html}");
    let challenge = site.json("/auth/passkeys/login/options", &json!({"app_origin": origin})).send().await.is(200);
    let response = authenticator.log_in(&challenge["options"], &origin);
    let body = json!({"challenge_id": challenge["challenge_id"], "response": response, "returnTo": "/me"});
    let answer = site.json("/auth/passkeys/login/verify", &body).send().await;
    assert_eq!(answer.is(200), json!({"ok": true, "redirectTo": "/me"}));
    let signed_in = site.after(&answer);
    assert_eq!(signed_in.session().await["authenticated"], true);
    let again = site.json("/auth/passkeys/login/verify", &body).send().await;
    assert_eq!(
        (again.status.as_u16(), again.json()["code"].as_str()),
        (400, Some("R402_AUTH_PASSKEY_CHALLENGE_INVALID"))
    );
    // The passkey goes by its credential id, as forms know it.
    let csrf = signed_in.csrf().await;
    let id = base64::Engine::encode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, &authenticator.credential_id);
    let answer = signed_in.post("/auth/account/passkeys/remove", &[("_csrf", &csrf), ("credential_id", &id)]).await;
    assert_eq!(answer.status, 303, "{answer}");
    let gone = signed_in.post("/auth/account/passkeys/remove", &[("_csrf", &csrf), ("credential_id", &id)]).await;
    assert_eq!(gone.status, 404);
}

#[tokio::test]
async fn names_of_another_project_are_nobody_elses() {
    let site = Site::claimed().await;
    let other = Pool::new().await;
    let ask = |pool: &Pool, url: String| {
        let call = pool.post("/auth/v1/magic-link", &json!({"email": "a@example.com", "redirect_url": url}));
        async move { call.send().await }
    };
    ask(&site.pool, format!("{}/cb", site.origin())).await.is(200);
    ask(&other, format!("{}/cb", site.origin())).await.refused(400, "REDIRECT_NOT_ALLOWED");
    let options = |pool: &Pool| {
        let call = pool.post("/auth/v1/passkeys/login/options", &json!({"app_origin": site.origin()}));
        async move { call.send().await }
    };
    options(&site.pool).await.is(200);
    options(&other).await.refused(400, "BAD_REQUEST");
}

#[tokio::test]
async fn the_pages_win_over_files_and_leave_other_paths_alone() {
    let site = Site::claimed().await;
    assert!(page(&site.get("/auth/sign-in").await).contains("Sign in"));
    let home = site.get("/").await;
    assert_eq!((home.status.as_u16(), home.body.as_slice()), (200, b"home".as_slice()));
    // The app may have pages of its own below the prefix; this one falls back to its start page.
    assert_eq!(site.get("/auth/callback").await.body, b"home");
}
