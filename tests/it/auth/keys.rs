//! Keys of function workers and tokens for development (06 §9.2-9.3, §9.6; checks 26, 27).

use base64::{Engine, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use super::{Pool, part};
use crate::support::{Answer, Appliance};

#[tokio::test]
async fn actor_keys_are_secret_and_of_one_project() {
    let (mine, other) = (Pool::new().await, Pool::new().await);
    let keys = |pool: &Pool, key: &str| pool.api.get("/internal/v1/actor-context-keys").bearer(key).send();
    let (first, second) =
        (keys(&mine, &mine.project.service_key).await.is(200), keys(&other, &other.project.service_key).await.is(200));
    let only = |body: &Value| {
        let keys = body["keys"].as_object().expect("keys").clone();
        assert_eq!(keys.len(), 1);
        keys.into_iter().next().expect("a key")
    };
    let ((kid, key), (other_kid, other_key)) = (only(&first), only(&second));
    assert!(kid != other_kid && key != other_key);
    assert!(STANDARD.decode(key.as_str().expect("text")).expect("base64").len() >= 32);
    assert_eq!(keys(&mine, &mine.project.service_key).await.is(200), first, "stable");
    keys(&mine, &mine.project.anon_key).await.refused(401, "UNAUTHORIZED");
    mine.api.get("/internal/v1/actor-context-keys").send().await.refused(401, "UNAUTHORIZED");
    mine.sign_up("ann@example.com").await;
    let user = mine.log_in("ann@example.com").await.access;
    assert_eq!(keys(&mine, &user).await.status, 401);
}

#[tokio::test]
async fn development_tokens_exist_in_development_only() {
    let ask = |pool: &Pool, body: Value| pool.api.post("/auth/v1/dev-tokens").json(&body).send();
    let pool = Pool::new().await;
    ask(&pool, json!({"project_id": pool.project.id})).await.refused(404, "RESOURCE_NOT_FOUND");
    let appliance = Appliance::plan().set("auth.development", "true").boot();
    let pool = Pool::on(&appliance).await;
    let made: Answer = ask(&pool, json!({"project_id": pool.project.id})).await;
    let body = made.is(201);
    assert_eq!((&body["role"], &body["sub"]), (&json!("authenticated"), &json!("user")));
    let token = body["token"].as_str().expect("a token");
    assert_eq!(body["authorization"], format!("Bearer {token}"));
    assert_eq!((&part(token, 1)["is_test"], &part(token, 1)["iss"]), (&json!(true), &json!("agentdb")));
    let rest = pool.api.get("/rest/v1/").api_key(&pool.project.anon_key).bearer(token).send().await;
    assert_ne!(rest.status, 401, "{rest}");
    let keys = json!({"project_id": pool.project.id, "role": "service_role"});
    assert_eq!(ask(&pool, keys).await.is(201)["token"], pool.project.service_key.as_str());
    for body in [json!({}), json!({"project_id": "x"}), json!({"project_id": pool.project.id, "role": "postgres"})] {
        ask(&pool, body).await.refused(400, "BAD_REQUEST");
    }
    ask(&pool, json!({"project_id": "prj_unknown"})).await.refused(404, "NOT_FOUND");
    let reachable = Appliance::plan().set("auth.development", "true").listen("0.0.0.0:0").boot();
    let port = reachable.address().rsplit_once(':').expect("a port").1.to_owned();
    let api = crate::support::Api::new(&format!("127.0.0.1:{port}"));
    let answer = api.post("/auth/v1/dev-tokens").json(&json!({"project_id": "prj_1"})).send().await;
    assert_eq!(answer.status, 404, "{answer}");
}

#[tokio::test]
async fn a_rotated_key_signs_the_next_token_and_the_old_one_stays_published() {
    let pool = Pool::new().await;
    pool.sign_up("ann@example.com").await;
    let before = pool.log_in("ann@example.com").await;
    let rotate = |key: &str| pool.api.post("/auth/v1/admin/keys/rotate").bearer(key).send();
    rotate(&pool.project.anon_key).await.refused(403, "FORBIDDEN");
    rotate(&before.access).await.refused(403, "FORBIDDEN");
    let rotated = rotate(&pool.project.service_key).await.is(200);
    assert_eq!(rotated["status"], "rotated");
    let after = pool.log_in("ann@example.com").await;
    let kid = |token: &str| part(token, 0)["kid"].clone();
    assert_eq!(kid(&after.access), rotated["kid"]);
    let keys = pool.api.get("/internal/v1/project-jwt-keys").bearer(&pool.project.service_key).send().await.is(200);
    let published: Vec<&Value> = keys["keys"].as_array().expect("keys").iter().map(|key| &key["kid"]).collect();
    assert_eq!(published, [&kid(&after.access), &kid(&before.access)], "the key in use first");
    pool.user(&before.access).await.is(200);
    pool.user(&after.access).await.is(200);
}
