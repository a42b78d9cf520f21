//! Deploys as the SDK does them: plan, upload what is missing, commit, look at the operation.

use serde_json::{Map, Value, json};
use std::time::Duration;

use super::{Answer, Project, Wallet, content::sha256, eventually};

/// A reference to bytes, as the SDK writes it for a file.
pub fn file(bytes: &[u8], content_type: &str) -> Value {
    json!({"sha256": sha256(bytes), "size": bytes.len(), "content_type": content_type})
}

/// A site of text files: `{path: ref}` and the bytes.
pub fn site<'a>(files: &[(&str, &'a str)]) -> (Value, Vec<&'a [u8]>) {
    let mut map = Map::new();
    for (path, text) in files {
        let content_type = match path.rsplit('.').next() {
            Some("html") => "text/html; charset=utf-8",
            Some("css") => "text/css; charset=utf-8",
            Some("js") => "text/javascript; charset=utf-8",
            _ => "text/plain; charset=utf-8",
        };
        map.insert((*path).into(), file(text.as_bytes(), content_type));
    }
    (Value::Object(map), files.iter().map(|(_, text)| text.as_bytes()).collect())
}

/// A migration whose SQL travels in the spec.
pub fn migration(id: &str, sql: &str) -> Value {
    json!({"id": id, "checksum": sha256(sql.as_bytes()), "sql": sql})
}

impl Project {
    fn named(&self, spec: &Value) -> Value {
        let mut spec = spec.clone();
        spec["project_id"] = self.id.as_str().into();
        spec
    }

    /// Plans a spec as the owner; the project is filled in.
    pub async fn plan(&self, spec: &Value) -> Answer {
        self.plan_as(&self.owner, &json!({"spec": self.named(spec)})).await
    }

    pub async fn dry_run(&self, spec: &Value) -> Answer {
        let body = json!({"spec": self.named(spec)});
        self.api.post("/apply/v1/plans?dry_run=true").wallet(&self.owner).json(&body).send().await
    }

    /// Sends a whole envelope.
    pub async fn plan_as(&self, wallet: &Wallet, envelope: &Value) -> Answer {
        self.api.post("/apply/v1/plans").wallet(wallet).json(envelope).send().await
    }

    pub async fn commit_plan(&self, plan: &Value) -> Answer {
        let id = plan["plan_id"].as_str().unwrap_or_else(|| panic!("no plan id in {plan}"));
        self.api.post(&format!("/apply/v1/plans/{id}/commit")).wallet(&self.owner).json(&json!({})).send().await
    }

    /// Uploads what a plan says is missing.
    pub async fn upload_missing(&self, plan: &Value, objects: &[&[u8]]) {
        let is_missing = |bytes: &&&[u8]| {
            let rows = plan["missing_content"].as_array().expect("rows");
            rows.iter().any(|row| row["present"] == false && row["sha256"] == sha256(bytes))
        };
        let mut missing: Vec<&[u8]> = objects.iter().filter(is_missing).copied().collect();
        missing.sort_unstable();
        missing.dedup();
        if !missing.is_empty() {
            self.upload(&missing).await;
        }
    }

    /// Plan, upload, commit: what the commit answers, once it is no longer running.
    pub async fn apply(&self, spec: &Value, objects: &[&[u8]]) -> Value {
        let plan = self.plan(spec).await.is(200);
        self.upload_missing(&plan, objects).await;
        let answer = self.commit_plan(&plan).await.is(200);
        self.settled(answer).await
    }

    /// As [`Project::apply`], for a deploy that must become live.
    pub async fn deploy(&self, spec: &Value, objects: &[&[u8]]) -> Value {
        let answer = self.apply(spec, objects).await;
        assert_eq!(answer["status"], "ready", "{answer}");
        answer
    }

    /// Deploys exactly these text files.
    pub async fn deploy_site(&self, files: &[(&str, &str)]) -> Value {
        let (replace, objects) = site(files);
        self.deploy(&json!({"site": {"replace": replace}}), &objects).await
    }

    /// Waits until an operation is at its end, and answers as its commit would have.
    pub async fn settled(&self, committed: Value) -> Value {
        if committed["status"] == "ready" || committed["status"] == "failed" {
            return committed;
        }
        let id = committed["operation_id"].as_str().expect("an operation").to_owned();
        eventually("the operation ends", Duration::from_secs(60), || async {
            let snapshot = self.operation(&id).await;
            ["ready", "failed", "rolled_back", "needs_repair"]
                .iter()
                .any(|end| snapshot["status"] == *end)
                .then_some(snapshot)
        })
        .await
    }

    pub async fn operation(&self, id: &str) -> Value {
        self.api.get(&format!("/apply/v1/operations/{id}")).api_key(&self.anon_key).send().await.is(200)
    }

    pub async fn operations(&self) -> Vec<Value> {
        let body = self.api.get("/apply/v1/operations?limit=100").api_key(&self.anon_key).send().await.is(200);
        body["operations"].as_array().expect("operations").clone()
    }

    /// The inventory of the live release.
    pub async fn live(&self) -> Value {
        self.api.get("/apply/v1/releases/active").api_key(&self.anon_key).send().await.is(200)
    }

    pub async fn release(&self, id: &str) -> Answer {
        self.api.get(&format!("/apply/v1/releases/{id}")).api_key(&self.anon_key).send().await
    }

    pub async fn promote(&self, release: &Value, codes: &[&str]) -> Answer {
        let release = release.as_str().expect("a release id");
        let body = json!({"project": self.id, "allow_warning_codes": codes});
        self.api.post(&format!("/apply/v1/releases/{release}/promote")).wallet(&self.owner).json(&body).send().await
    }
}

/// Paths of the site of an inventory.
pub fn paths(inventory: &Value) -> Vec<&str> {
    let paths = inventory["site"]["paths"].as_array().unwrap_or_else(|| panic!("no site in {inventory}"));
    paths.iter().map(|row| row["path"].as_str().expect("a path")).collect()
}

/// Codes of the warnings of a plan.
pub fn warnings(plan: &Value) -> Vec<&str> {
    plan["warnings"].as_array().expect("warnings").iter().map(|row| row["code"].as_str().expect("a code")).collect()
}
