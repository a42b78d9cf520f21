//! Functions over HTTP, run by the real engine (contract 05).

mod deploys;
mod failures;
mod gates;
mod hostile;
mod invocation;
mod logs;
mod management;
mod module;
mod network;
mod routed;
mod runs;
mod schedules;

use std::time::Duration;

use serde_json::{Value, json};

use crate::support::{Answer, Api, Appliance, Call, Project, deploy::file, eventually};

/// What `functions.deploy` of the SDK always says, whatever the language.
pub const CONTENT_TYPE: &str = "text/javascript; charset=utf-8";
pub const ECHO: &str = "export default async (req) => Response.json({ m: req.method, p: new URL(req.url).pathname });";

pub fn api() -> Api {
    Appliance::shared().api()
}

/// A function of a spec.
pub fn function(code: &str, more: &Value) -> Value {
    let mut function = json!({"runtime": "node22", "source": file(code.as_bytes(), CONTENT_TYPE)});
    function.as_object_mut().unwrap().extend(more.as_object().expect("an object").clone());
    function
}

/// A spec with exactly these functions: name, code, further fields.
pub fn spec(functions: &[(&str, &str, Value)]) -> Value {
    let functions: serde_json::Map<String, Value> =
        functions.iter().map(|(name, code, more)| ((*name).to_owned(), function(code, more))).collect();
    json!({"functions": {"replace": functions}})
}

/// Deploys exactly these functions.
pub async fn deploy(project: &Project, functions: &[(&str, &str, Value)]) -> Value {
    let codes: Vec<&[u8]> = functions.iter().map(|(_, code, _)| code.as_bytes()).collect();
    project.deploy(&spec(functions), &codes).await
}

/// A project of the shared box with these functions.
pub async fn with(functions: &[(&str, &str)]) -> Project {
    let project = api().provision().await;
    let functions: Vec<(&str, &str, Value)> = functions.iter().map(|(name, code)| (*name, *code, json!({}))).collect();
    deploy(&project, &functions).await;
    project
}

/// What a deploy of one function is refused with: the answer of its commit.
pub async fn refused(project: &Project, name: &str, code: &str, more: &Value) -> Answer {
    let plan = project.plan(&spec(&[(name, code, more.clone())])).await.is(200);
    project.upload_missing(&plan, &[code.as_bytes()]).await;
    project.commit_plan(&plan).await
}

impl Project {
    /// A direct call with the anon key.
    pub fn invoke(&self, path: &str) -> Call {
        self.api.post(&format!("/functions/v1/{path}")).api_key(&self.anon_key)
    }

    pub async fn functions(&self) -> Vec<Value> {
        let body = self.api.get(&self.path("functions")).bearer(&self.service_key).send().await.is(200);
        body["functions"].as_array().expect("functions").clone()
    }

    pub async fn logs(&self, function: &str, query: &str) -> Answer {
        let path = self.path(&format!("functions/{function}/logs{query}"));
        self.api.get(&path).bearer(&self.service_key).send().await
    }

    /// What a function wrote to its console, once there is as much of it.
    pub async fn console(&self, function: &str, query: &str, entries: usize) -> Vec<Value> {
        eventually("the console is logged", Duration::from_secs(10), async || {
            let logs = self.logs(function, query).await.is(200);
            let logs = logs["logs"].as_array().expect("logs").iter();
            let console: Vec<Value> = logs.filter(|entry| entry["stream"] != "platform").cloned().collect();
            (console.len() >= entries).then_some(console)
        })
        .await
    }

    /// The host of the project, with the port it is reached by.
    pub async fn host(&self) -> String {
        let detail = self.api.get(&format!("/projects/v1/{}", self.id)).wallet(&self.owner).send().await.is(200);
        let address = self.api.base_url();
        let port = address.rsplit(':').next().expect("a port");
        format!("pr-{}.localhost:{port}", detail["public_id"].as_str().expect("a public id"))
    }
}

/// Id of the request of an answer.
#[track_caller]
pub fn request_id(answer: &Answer) -> String {
    answer.header("x-run402-request-id").unwrap_or_else(|| panic!("no request id: {answer}")).to_owned()
}
