//! Gates (contract 05 §9; checks 14, 15).

use serde_json::json;

use super::{api, deploy, function, refused};
use crate::auth::Pool;

/// Answers what the gate says.
const WHO: &str = "console.log('ran'); export default (req) =>
    Response.json([req.headers.get('x-run402-user-id'), req.headers.get('x-run402-user-role')])";

#[tokio::test]
async fn a_gate_lets_users_of_the_project_in_and_nobody_else() {
    let (pool, other) = (Pool::new().await, Pool::new().await);
    deploy(&pool.project, &[("gated", WHO, json!({"require_auth": true}))]).await;
    for pool in [&pool, &other] {
        pool.sign_up("ann@example.com").await;
    }
    let (mine, theirs) = (pool.log_in("ann@example.com").await, other.log_in("ann@example.com").await);
    let call = || pool.project.invoke("gated");
    let spoofed = || call().header("x-run402-user-id", "someone");
    for refusal in [
        call(),
        spoofed(),
        api().post("/functions/v1/gated").api_key(&pool.project.service_key),
        call().bearer(&pool.project.service_key),
        call().bearer(&pool.project.anon_key),
        call().bearer("nonsense"),
        call().bearer(&theirs.access),
    ] {
        let body = refusal.send().await.json();
        assert_eq!((&body["error"], &body["code"]), (&json!("authentication_required"), &json!("R402_AUTH_REQUIRED")));
    }
    let id = mine.claims()["sub"].clone();
    assert_eq!(spoofed().bearer(&mine.access).send().await.is(200), json!([id, null]));
    assert_eq!(pool.project.console("gated", "", 1).await.len(), 1, "refusals run nothing");
}

#[tokio::test]
async fn a_role_gate_is_checked_before_its_release_is_live() {
    let project = api().provision().await;
    deploy(&project, &[("f", WHO, json!({}))]).await;
    let release = project.live().await["release_id"].clone();
    let gate = |table: &str| json!({"require_role": {"table": table, "id_column": "user_id", "role_column": "role", "allowed": ["admin"]}});
    let qualified = super::spec(&[("f", WHO, gate("public.members"))]);
    project.plan(&qualified).await.refused(400, "INVALID_SPEC");
    let missing = refused(&project, "f", WHO, &gate("members")).await.json();
    let code = missing["code"].as_str().or(missing["error"]["code"].as_str());
    assert_eq!(code, Some("DEPLOY_INVALID_ROLE_GATE"), "{missing}");
    assert_eq!(project.live().await["release_id"], release);
    project.invoke("f").send().await.is(200);
    let _ = function;
}

#[tokio::test]
async fn a_role_gate_reads_the_projects_own_table() {
    let pool = Pool::new().await;
    let project = &pool.project;
    let mut users = Vec::new();
    for name in ["admin", "guest", "stranger"] {
        let email = format!("{name}@example.com");
        let id = pool.sign_up(&email).await["id"].as_str().expect("an id").to_owned();
        users.push((id, pool.log_in(&email).await.access));
    }
    let [(admin, as_admin), (guest, as_guest), (_, as_stranger)] = &users[..] else { unreachable!("three users") };
    let create = format!(
        "create table members (user_id uuid primary key, role text not null);
         alter table members enable row level security;
         alter table members force row level security;
         insert into members values ('{admin}', 'admin'), ('{guest}', 'guest')"
    );
    project.sql(&create).await.is(200);
    let gate = json!({"table": "members", "id_column": "user_id", "role_column": "role", "allowed": ["admin"], "cache_ttl": 0});
    deploy(project, &[("f", WHO, json!({"require_role": gate}))]).await;
    let call = async |token: &str| project.invoke("f").bearer(token).send().await;
    let denied = call(as_guest).await.refused(403, "ROLE_FORBIDDEN");
    assert_eq!(denied["allowed_roles"], json!(["admin"]));
    call(as_stranger).await.refused(403, "ROLE_FORBIDDEN");
    assert_eq!(call(as_admin).await.is(200), json!([admin, "admin"]));
    project.sql(&format!("update members set role = 'guest' where user_id = '{admin}'")).await.is(200);
    call(as_admin).await.refused(403, "ROLE_FORBIDDEN");
}
