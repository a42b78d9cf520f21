//! Uploads as the SDK does them: plan, PUT each part, commit.

use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{Answer, Api, Project};

pub fn sha256(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// `x-amz-checksum-sha256` of these bytes.
pub fn checksum(bytes: &[u8]) -> String {
    use base64::{Engine, engine::general_purpose::STANDARD};
    STANDARD.encode(Sha256::digest(bytes))
}

/// The rows of a content plan for these objects.
pub fn rows(objects: &[&[u8]]) -> Value {
    objects.iter().map(|bytes| json!({"sha256": sha256(bytes), "size": bytes.len()})).collect()
}

impl Api {
    /// PUTs to a signed URL, whose host is the box's own name for itself.
    pub async fn put_part(&self, url: &str, bytes: &[u8]) -> Answer {
        self.put_with(url, bytes, Some(&checksum(bytes))).await
    }

    pub async fn put_with(&self, url: &str, bytes: &[u8], checksum: Option<&str>) -> Answer {
        let url: url::Url = url.parse().expect("an absolute URL");
        let path = format!("{}?{}", url.path(), url.query().expect("a signed query"));
        let call = self.call(Method::PUT, &path).body("application/octet-stream", bytes.to_vec());
        match checksum {
            Some(checksum) => call.header("x-amz-checksum-sha256", checksum),
            None => call,
        }
        .send()
        .await
    }
}

impl Project {
    /// A content plan by the project's owner.
    pub async fn plan_content(&self, rows: Value) -> Answer {
        self.api
            .post("/content/v1/plans")
            .wallet(&self.owner)
            .api_key(&self.anon_key)
            .json(&json!({"content": rows}))
            .send()
            .await
    }

    pub async fn commit_content(&self, plan: &Value) -> Answer {
        let id = plan["plan_id"].as_str().expect("a plan id");
        self.api.post(&format!("/content/v1/plans/{id}/commit")).api_key(&self.anon_key).json(&json!({})).send().await
    }

    /// PUTs every part of every session of a plan.
    pub async fn send_parts(&self, plan: &Value, objects: &[&[u8]]) {
        for session in plan["missing"].as_array().expect("sessions") {
            let digest = session["sha256"].as_str().expect("a digest");
            let object = objects.iter().find(|bytes| sha256(bytes) == digest).expect("only what was asked for");
            for part in session["parts"].as_array().expect("parts") {
                let start = usize::try_from(part["byte_start"].as_u64().expect("a start")).expect("small");
                let end = usize::try_from(part["byte_end"].as_i64().expect("an end") + 1).expect("small");
                let answer = self.api.put_part(part["url"].as_str().expect("a URL"), &object[start..end]).await;
                assert_eq!(answer.status, 200, "{answer}");
                assert!(answer.header("etag").is_some_and(|etag| !etag.is_empty()), "{answer}");
            }
        }
    }

    /// Uploads objects as an SDK would: the project has them when this returns.
    pub async fn upload(&self, objects: &[&[u8]]) {
        let plan = self.plan_content(rows(objects)).await.is(200);
        self.send_parts(&plan, objects).await;
        self.commit_content(&plan).await.is(200);
    }
}
