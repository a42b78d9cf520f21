//! The life of a project (contract 02 §2; checks 1, 2, 27, 29).

use std::{collections::HashSet, time::Duration};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};

use crate::support::{Appliance, Project, Wallet, control};

/// The claims of a key, without verifying it: only the box can.
fn claims(key: &str) -> Value {
    let parts: Vec<&str> = key.split('.').collect();
    assert_eq!(parts.len(), 3, "a JWT has three parts: {key}");
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(parts[1]).expect("base64url")).expect("JSON claims")
}

#[tokio::test]
async fn provisioning_answers_with_keys_that_work_at_once() {
    let api = Appliance::shared().api();
    let owner = api.subscriber().await;
    let answer = api.post("/projects/v1").wallet(&owner).json(&json!({"name": "x"})).send().await;
    let body = answer.is(201);
    assert_eq!(body["name"], "x");
    assert_eq!(body["tier"], "prototype");
    assert!(body["org_id"].as_str().is_some_and(|id| uuid::Uuid::parse_str(id).is_ok()));
    assert!(body.get("lease_expires_at").is_some());
    assert!(body.get("status").is_none(), "{body}");
    let project = Project::of(&api, &owner, &body);
    let id = project.id.strip_prefix("prj_").expect("the prefix");
    assert!(id.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_') && !id.is_empty(), "{id}");
    assert!(project.slot.strip_prefix('p').is_some_and(|rest| rest.len() >= 4), "{}", project.slot);
    for (key, role) in [(&project.anon_key, "anon"), (&project.service_key, "service_role")] {
        assert_eq!(claims(key), json!({"iss": "run402", "project_id": project.id, "role": role}));
    }
    assert_eq!(project.value("select 1").await, 1);
}

#[tokio::test]
async fn every_member_of_the_request_is_optional() {
    let api = Appliance::shared().api();
    let owner = api.subscriber().await;
    let body = api.post("/projects/v1").wallet(&owner).send().await.ok();
    assert!(body["name"].as_str().is_some_and(|name| !name.trim().is_empty()), "a readable label: {body}");
    api.post("/projects/v1").wallet(&owner).json(&json!({"unknown": 1})).send().await.ok();
}

#[tokio::test]
async fn bad_requests_for_a_project_are_refused() {
    let api = Appliance::shared().api();
    let owner = api.subscriber().await;
    let ask = |body: Value| api.post("/projects/v1").wallet(&owner).json(&body).send();
    let body = ask(json!({"tier": "gold"})).await.refused(400, "VALIDATION_ERROR");
    assert!(body["message"].as_str().is_some_and(|text| text.contains("gold")), "the message names it: {body}");
    for name in [json!(""), json!("   "), json!("x".repeat(201)), json!("a\u{7}b"), json!("a\nb"), json!(7)] {
        let answer = ask(json!({"name": name})).await;
        let body = answer.refused(400, "VALIDATION_ERROR");
        assert_eq!(body["details"]["field"], "name", "{answer}");
    }
    ask(json!({"org_id": "nope"})).await.refused(400, "VALIDATION_ERROR");
    ask(json!({"org_id": uuid::Uuid::new_v4()})).await.refused(403, "NOT_AUTHORIZED");
    api.post("/projects/v1").json(&json!({})).send().await.refused(401, "AUTHENTICATION_REQUIRED");
}

#[tokio::test]
async fn a_name_of_two_hundred_characters_in_any_script_is_fine() {
    let api = Appliance::shared().api();
    let owner = api.subscriber().await;
    let name = "字".repeat(200);
    let made = api.post("/projects/v1").wallet(&owner).json(&json!({"name": format!("  {name} ")})).send().await.ok();
    assert_eq!(made["name"], name);
}

#[tokio::test]
async fn a_project_cannot_be_made_in_a_foreign_organisation() {
    let api = Appliance::shared().api();
    let (mine, other) = (api.subscriber().await, api.subscriber().await);
    let foreign = api.organisation_of(&other).await;
    let ask =
        |organisation: Value| api.post("/projects/v1").wallet(&mine).json(&json!({"org_id": organisation})).send();
    let (first, second) = (ask(json!(foreign)).await, ask(json!(uuid::Uuid::new_v4())).await);
    first.refused(403, "NOT_AUTHORIZED");
    second.refused(403, "NOT_AUTHORIZED");
    assert_eq!(first.body_without_trace(), second.body_without_trace());
}

#[tokio::test]
async fn an_idempotency_key_makes_one_project_of_two_calls() {
    let api = Appliance::shared().api();
    let owner = api.subscriber().await;
    let ask = |name: &str| {
        api.post("/projects/v1").wallet(&owner).header("idempotency-key", "once").json(&json!({"name": name})).send()
    };
    let first = ask("one").await;
    first.ok();
    let again = ask("one").await;
    assert_eq!(again.status, first.status);
    assert_eq!(again.json(), first.json());
    assert_eq!(again.header("idempotency-replayed"), Some("true"));
    ask("two").await.refused(409, "IDEMPOTENCY_CONFLICT");
    let list = api.get("/projects/v1").wallet(&owner).send().await.is(200);
    assert_eq!(list["projects"].as_array().map(Vec::len), Some(1));
    // The key belongs to its principal.
    let other = api.subscriber().await;
    let body = api
        .post("/projects/v1")
        .wallet(&other)
        .header("idempotency-key", "once")
        .json(&json!({"name": "one"}))
        .send()
        .await
        .ok();
    assert_ne!(body["project_id"], first.json()["project_id"]);
}

#[tokio::test]
async fn an_unusable_idempotency_key_is_refused() {
    let api = Appliance::shared().api();
    let owner = api.subscriber().await;
    for key in ["", &"x".repeat(256), "tab\there"] {
        let answer =
            api.post("/projects/v1").wallet(&owner).header("idempotency-key", key).json(&json!({})).send().await;
        answer.refused(400, "INVALID_IDEMPOTENCY_KEY");
    }
}

#[tokio::test]
async fn unknown_and_foreign_projects_look_the_same() {
    let api = Appliance::shared().api();
    let (mine, other) = (api.subscriber().await, api.provision().await);
    let absent = format!("prj_{}_1", 1_777_563_179_844_i64);
    for path in [&other.id, &absent] {
        let path = format!("/projects/v1/{path}");
        let read = api.get(&path).wallet(&mine).send().await;
        read.refused(403, "NOT_AUTHORIZED");
        let rename = api.patch(&path).wallet(&mine).json(&json!({"name": "stolen"})).send().await;
        rename.refused(403, "NOT_AUTHORIZED");
    }
    let ask = |id: &str| api.get(&format!("/projects/v1/{id}")).wallet(&mine).send();
    assert_eq!(ask(&other.id).await.body_without_trace(), ask(&absent).await.body_without_trace());
    api.get(&format!("/projects/v1/{}", other.id)).send().await.refused(401, "AUTHENTICATION_REQUIRED");
}

#[tokio::test]
async fn the_detail_of_a_project_names_everything_and_no_key() {
    let api = Appliance::shared().api();
    let project = api.provision().await;
    let answer = api.get(&format!("/projects/v1/{}", project.id)).wallet(&project.owner).send().await;
    let body = answer.is(200);
    assert_eq!(body["project_id"], project.id);
    let fit_for_a_host = |id: &str| id.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    assert!(body["public_id"].as_str().is_some_and(|id| (3..=40).contains(&id.len()) && fit_for_a_host(id)));
    assert_eq!(body["name"], "test");
    assert_eq!(body["tier"], "prototype");
    assert_eq!(body["effective_status"], "active");
    assert_eq!(body["organization_lifecycle_state"], "active");
    for key in ["site_url", "last_deploy"] {
        assert!(body.get(key).is_some_and(Value::is_null), "{key} is an explicit null: {body}");
    }
    assert_eq!(body["custom_domains"], json!([]));
    assert_eq!(body["mailbox"], json!([]));
    for key in ["api_calls", "storage_bytes", "api_calls_limit", "storage_bytes_limit"] {
        assert!(body["usage"][key].is_u64(), "{key} in {body}");
    }
    assert!(body["created_at"].is_string() && body["org_id"].is_string());
    let text = String::from_utf8(answer.body).expect("text");
    assert!(!text.contains(&project.anon_key) && !text.contains(&project.service_key));
}

#[tokio::test]
async fn the_list_is_newest_first_and_paged() {
    let api = Appliance::shared().api();
    let owner = api.subscriber().await;
    let mut made = Vec::new();
    for number in 0..5 {
        made.push(api.provision_for(&owner, &format!("n{number}")).await.id);
    }
    made.reverse();
    let (mut found, mut cursor) = (Vec::new(), None::<String>);
    for _ in 0..4 {
        let after = cursor.as_deref().map(|cursor| format!("&after={cursor}")).unwrap_or_default();
        let body = api.get(&format!("/projects/v1?limit=2{after}")).wallet(&owner).send().await.is(200);
        for row in body["projects"].as_array().expect("rows") {
            found.push(row["id"].as_str().expect("an id").to_owned());
            assert_eq!(row["effective_status"], "active");
            assert_eq!(row["organization_lifecycle_state"], "active");
            assert_eq!(row["tier"], "prototype");
            assert_eq!(row["lease_perpetual"], false);
            assert_eq!(row["custom_domains"], json!([]));
            for key in ["name", "status", "site_url", "org_id", "created_by", "created_at", "deleted_at", "archived_at"]
            {
                assert!(row.get(key).is_some(), "{key} in {row}");
            }
        }
        cursor = body["next_cursor"].as_str().map(str::to_owned);
        assert_eq!(body["has_more"], cursor.is_some());
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!(found, made);
}

#[tokio::test]
async fn the_list_can_be_narrowed_to_one_organisation() {
    let api = Appliance::shared().api();
    let project = api.provision().await;
    let organisation = api.organisation_of(&project.owner).await;
    let ask = |query: &str| api.get(&format!("/projects/v1?{query}")).wallet(&project.owner).send();
    let body = ask(&format!("org_id={organisation}")).await.is(200);
    assert_eq!(body["projects"][0]["id"], project.id);
    let answer = ask("org_id=nope").await;
    assert_eq!(answer.status, 400, "{answer}");
    ask(&format!("org_id={}", uuid::Uuid::new_v4())).await.refused(403, "NOT_AUTHORIZED");
    let foreign = api.organisation_of(&api.subscriber().await).await;
    ask(&format!("org_id={foreign}")).await.refused(403, "NOT_AUTHORIZED");
    ask("limit=0").await.refused(400, "INVALID_LIMIT");
    ask("after=garbage").await.refused(400, "INVALID_CURSOR");
    api.get("/projects/v1").send().await.refused(401, "AUTHENTICATION_REQUIRED");
}

#[tokio::test]
async fn a_wallet_lists_only_its_own_projects() {
    let api = Appliance::shared().api();
    let (mine, other) = (api.provision().await, api.provision().await);
    let body = api.get("/projects/v1").wallet(&mine.owner).send().await.is(200);
    let ids: Vec<&Value> = body["projects"].as_array().expect("rows").iter().map(|row| &row["id"]).collect();
    assert_eq!(ids, [&Value::from(mine.id.as_str())]);
    assert_ne!(mine.id, other.id);
    let body = api.get("/agent/v1/operator/projects").wallet(&mine.owner).send().await.is(200);
    assert_eq!(body["scope"], "wallet");
    assert_eq!(body["projects"][0]["id"], mine.id);
}

#[tokio::test]
async fn the_owner_renames() {
    let api = Appliance::shared().api();
    let project = api.provision().await;
    let path = format!("/projects/v1/{}", project.id);
    let rename = |name: Value| api.patch(&path).wallet(&project.owner).json(&json!({"name": name})).send();
    assert_eq!(rename(json!(" new name ")).await.is(200), json!({"project_id": project.id, "name": "new name"}));
    rename(json!("")).await.refused(400, "VALIDATION_ERROR");
    rename(json!(null)).await.refused(400, "VALIDATION_ERROR");
    let body = api.get(&path).wallet(&project.owner).send().await.is(200);
    assert_eq!(body["name"], "new name");
}

#[tokio::test]
async fn calls_are_counted() {
    let api = Appliance::shared().api();
    let project = api.provision().await;
    let before = project.usage().await;
    assert_eq!(before["project_id"], project.id);
    assert_eq!(before["tier"], "prototype");
    assert_eq!(before["api_calls_limit"], 500_000);
    assert_eq!(before["storage_limit_bytes"], 262_144_000);
    assert_eq!(before["effective_status"], "active");
    assert_eq!(before["organization_lifecycle_state"], "active");
    for _ in 0..3 {
        project.sql("select 1").await.is(200);
    }
    project.schema().await;
    let after = project.usage().await;
    let calls = |usage: &Value| usage["api_calls"].as_u64().expect("a counter");
    assert_eq!(calls(&after), calls(&before) + 3, "reading the schema or the usage is free");
    assert!(after["storage_bytes"].as_u64().is_some_and(|bytes| bytes > 0), "a database has a size: {after}");
}

#[tokio::test]
async fn refused_calls_are_not_metered_before_authentication() {
    let api = Appliance::shared().api();
    let project = api.provision().await;
    let before = project.usage().await["api_calls"].clone();
    api.post(&project.path("sql")).bearer("nonsense").text("select 1").send().await.refused(401, "UNAUTHORIZED");
    assert_eq!(project.usage().await["api_calls"], before);
}

#[tokio::test]
async fn a_used_up_quota_refuses_calls_with_its_numbers() {
    let appliance = Appliance::plan().set("tiers.prototype.api_calls", "5").boot();
    let api = appliance.api();
    let project = api.provision().await;
    assert_eq!(project.usage().await["api_calls_limit"], 5);
    let mut refused = None;
    for _ in 0..7 {
        let answer = project.sql("select 1").await;
        if answer.status != 200 {
            refused = Some(answer);
            break;
        }
    }
    let body = refused.expect("the sixth call is too many").refused(403, "QUOTA_EXCEEDED");
    assert_eq!(body["category"], "quota");
    assert_eq!(body["mutation_state"], "not_started");
    assert_eq!(body["details"]["scope"], "organization");
    assert_eq!(body["details"]["resource"], "api_calls");
    assert_eq!(body["details"]["limit"], 5);
    assert_eq!(body["details"]["used"], body["details"]["current"]);
    assert_eq!(body["usage"]["limit"], 5);
    let actions: HashSet<&str> =
        body["next_actions"].as_array().expect("actions").iter().filter_map(|each| each["action"].as_str()).collect();
    assert_eq!(actions, HashSet::from(["check_usage", "renew_tier"]));
    // Looking at the usage still works, and so does leaving.
    project.usage().await;
    api.delete(&format!("/projects/v1/{}", project.id)).bearer(&project.service_key).send().await.is(200);
}

#[tokio::test]
async fn a_full_project_can_still_be_read_and_emptied() {
    let appliance =
        Appliance::plan().set("tiers.prototype.storage_mb", "1").set("projects.storage_interval_seconds", "1").boot();
    let project = appliance.api().provision().await;
    // What the platform keeps in an empty database is not the tenant's storage.
    let usage = appliance.api().get(&project.path("usage")).bearer(&project.service_key).send().await.is(200);
    assert!(usage["storage_bytes"].as_i64().is_some_and(|bytes| bytes < 256 * 1024), "{usage}");
    project.sql("create table t as select repeat(n::text, 100) as body from generate_series(1, 20000) n").await.is(200);
    let refused = crate::support::eventually("the measurement", Duration::from_secs(30), || async {
        let answer = project.sql("insert into t values ('one more')").await;
        (answer.status == 403).then_some(answer)
    })
    .await;
    assert_eq!(refused.refused(403, "QUOTA_EXCEEDED")["details"]["resource"], "storage_bytes");
    project.sql("select 1").await.is(200);
    project.sql("drop table if exists t").await.is(200);
}

#[tokio::test]
async fn too_many_calls_a_second_meet_the_rate_limit() {
    let appliance =
        Appliance::plan().set("rate_limits.enabled", "true").set("rate_limits.project_per_second", "5").boot();
    let api = appliance.api();
    let project = api.provision().await;
    // Other projects have buckets of their own.
    let neighbour = api.provision().await;
    let answers = futures_util::future::join_all((0..30).map(|_| project.sql("select 1"))).await;
    let served = answers.iter().filter(|answer| answer.status == 200).count();
    assert!((5..30).contains(&served), "{served} of 30 calls were served");
    neighbour.sql("select 1").await.is(200);
    let limited = answers.into_iter().find(|answer| answer.status == 429);
    let answer = limited.expect("thirty calls at once are too many");
    let body = answer.refused(429, "RATE_LIMITED");
    assert!(body["retry_after"].as_u64().is_some_and(|seconds| seconds >= 1), "{body}");
    assert!(answer.header("retry-after").is_some());
}

#[tokio::test]
async fn deleting_leaves_nothing_behind() {
    let appliance = Appliance::shared();
    let api = appliance.api();
    let project = api.provision().await;
    project.sql("create table t(id int)").await.is(200);
    let path = format!("/projects/v1/{}", project.id);
    let other = api.provision().await;
    api.delete(&path).send().await.refused(401, "AUTHENTICATION_REQUIRED");
    let answer = api.delete(&path).bearer(&project.anon_key).send().await;
    assert_eq!(answer.status, 403, "{answer}");
    let answer = api.delete(&path).bearer(&other.service_key).send().await;
    assert_eq!(answer.status, 403, "{answer}");
    project.sql("select 1 from t").await.is(200);

    let body = api.delete(&path).bearer(&project.service_key).send().await.is(200);
    assert_eq!(body, json!({"status": "purged", "project_id": project.id}));

    api.delete(&path).bearer(&project.service_key).send().await.refused(401, "UNAUTHORIZED");
    project.sql("select 1").await.refused(401, "UNAUTHORIZED");
    let list = api.get("/projects/v1").wallet(&project.owner).send().await.is(200);
    assert_eq!(list["projects"], json!([]));
    api.get(&path).wallet(&project.owner).send().await.refused(403, "NOT_AUTHORIZED");
    let left: i64 = control::control(appliance)
        .await
        .query_one(
            "select count(*) from pg_database d, pg_roles r where d.datname = $1 or r.rolname = $2",
            &[&format!("r402_{}", project.slot), &format!("r402_{}_owner", project.slot)],
        )
        .await
        .expect("the control database answers")
        .get(0);
    assert_eq!(left, 0, "its database or its role is still there");
}

#[tokio::test]
async fn a_slot_is_never_used_twice() {
    let api = Appliance::shared().api();
    let owner = api.subscriber().await;
    let mut slots = HashSet::new();
    for _ in 0..4 {
        let project = api.provision_for(&owner, "short-lived").await;
        assert!(slots.insert(project.slot.clone()), "{} came back", project.slot);
        api.delete(&format!("/projects/v1/{}", project.id)).bearer(&project.service_key).send().await.is(200);
    }
}

#[tokio::test]
async fn a_delete_that_a_crash_interrupted_is_finished_at_the_next_start() {
    let mut appliance = Appliance::plan().boot();
    let project = appliance.api().provision().await;
    // What the crash leaves: the mark, and everything else still there.
    control::control(&appliance)
        .await
        .execute("update projects set status = 'purging' where id = $1", &[&project.id])
        .await
        .expect("the state can be set");
    appliance.kill();
    appliance.start_again();
    let project = project.through(&appliance.api());
    project.sql("select 1").await.refused(401, "UNAUTHORIZED");
    let client = control::control(&appliance).await;
    let database = format!("r402_{}", project.slot);
    crate::support::eventually("the rest of the delete", Duration::from_secs(30), || async {
        let left: i64 = client
            .query_one("select count(*) from pg_database where datname = $1", &[&database])
            .await
            .expect("the control database answers")
            .get(0);
        (left == 0).then_some(())
    })
    .await;
}

#[tokio::test]
async fn only_the_admin_archives_and_brings_back() {
    let appliance = Appliance::shared();
    let api = appliance.api();
    let project = api.provision().await;
    let act = |verb: &str| api.post(&project.path(verb)).json(&json!({"reason": "spam"}));
    let as_admin = |verb: &str| act(verb).wallet(&Wallet::admin()).header("x-admin-mode", "1");
    assert_eq!(
        act("archive").wallet(&project.owner).send().await.refused(403, "ADMIN_REQUIRED")["admin_required"],
        true
    );
    act("archive").wallet(&Wallet::admin()).send().await.refused(403, "ADMIN_REQUIRED");
    act("archive").send().await.refused(401, "AUTHENTICATION_REQUIRED");

    let body = as_admin("archive").send().await.is(200);
    assert_eq!(body["status"], "ok");
    assert_eq!(body["project_id"], project.id);
    assert_eq!(body["reason"], "spam");
    assert!(body["archived_at"].is_string());
    let body = as_admin("archive").send().await.is(200);
    assert_eq!(body, json!({"status": "ok", "project_id": project.id, "note": "already archived"}));

    project.sql("select 1").await.refused(403, "PROJECT_ARCHIVED");
    assert_eq!(project.usage().await["effective_status"], "archived");
    let list = api.get("/projects/v1").wallet(&project.owner).send().await.is(200);
    assert_eq!(list["projects"][0]["effective_status"], "archived");
    assert!(list["projects"][0]["archived_at"].is_string());

    let body = as_admin("reactivate").send().await.is(200);
    assert_eq!(body, json!({"status": "ok", "project_id": project.id, "reactivated": true}));
    let body = as_admin("reactivate").send().await.is(200);
    assert_eq!(body, json!({"status": "ok", "project_id": project.id, "note": "not archived"}));
    project.sql("select 1").await.is(200);

    let absent = |verb: &str| {
        api.post(&format!("/projects/v1/admin/prj_nobody/{verb}")).admin_key(&appliance.admin_key()).send()
    };
    for verb in ["archive", "reactivate", "pin"] {
        absent(verb).await.refused(404, "PROJECT_NOT_FOUND");
    }
}

#[tokio::test]
async fn pinning_makes_the_organisation_perpetual() {
    let appliance = Appliance::shared();
    let api = appliance.api();
    let project = api.provision().await;
    api.post(&project.path("pin")).wallet(&project.owner).send().await.refused(403, "ADMIN_REQUIRED");
    for _ in 0..2 {
        let body = api.post(&project.path("pin")).admin_key(&appliance.admin_key()).send().await.is(200);
        assert_eq!(body["status"], "pinned");
        assert_eq!(body["project_id"], project.id);
    }
    let list = api.get("/projects/v1").wallet(&project.owner).send().await.is(200);
    assert_eq!(list["projects"][0]["lease_perpetual"], true);
}

#[tokio::test]
async fn the_keys_of_one_project_open_no_door_of_another() {
    let api = Appliance::shared().api();
    let (mine, other) = (api.provision().await, api.provision().await);
    let post_sql = |key: &str| api.post(&other.path("sql")).bearer(key).text("select 1").send();
    post_sql(&mine.service_key).await.refused(403, "FORBIDDEN");
    for rest in ["schema", "usage"] {
        api.get(&other.path(rest)).bearer(&mine.service_key).send().await.refused(403, "FORBIDDEN");
    }
    post_sql(&other.anon_key).await.refused(403, "ADMIN_REQUIRED");
    api.post(&other.path("sql")).text("select 1").send().await.refused(401, "AUTHENTICATION_REQUIRED");
    // The wallet that owns it is no key either.
    let answer = api.post(&other.path("sql")).wallet(&other.owner).text("select 1").send().await;
    assert!(answer.status == 401 || answer.status == 403, "{answer}");
}

#[tokio::test]
async fn forged_keys_are_refused() {
    let api = Appliance::shared().api();
    let project = api.provision().await;
    let parts: Vec<&str> = project.anon_key.split('.').collect();
    let encode = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let service = encode(json!({"iss": "run402", "project_id": project.id, "role": "service_role"}));
    let none = encode(json!({"alg": "none", "typ": "JWT"}));
    let mut flipped = project.service_key.clone();
    let last = flipped.pop().expect("a character");
    flipped.insert(flipped.rfind('.').expect("a dot") + 1, last);
    for key in [
        format!("{}.{service}.{}", parts[0], parts[2]),
        format!("{none}.{service}."),
        format!("{none}.{service}.{}", parts[2]),
        flipped,
        "a.b.c".to_owned(),
        "nonsense".to_owned(),
        "x".repeat(5000),
    ] {
        let answer = api.post(&project.path("sql")).bearer(&key).text("select 1").send().await;
        answer.refused(401, "UNAUTHORIZED");
    }
}

#[tokio::test]
async fn hostile_project_ids_are_just_unknown() {
    let api = Appliance::shared().api();
    let project = api.provision().await;
    for id in ["prj_' or 1=1 --", "prj_%00", "..%2f..%2fetc", "prj_\u{1F600}", &"x".repeat(500)] {
        let encoded: String = percent_encoding::utf8_percent_encode(id, percent_encoding::NON_ALPHANUMERIC).to_string();
        let answer = api.get(&format!("/projects/v1/{encoded}")).wallet(&project.owner).send().await;
        assert!(answer.status.is_client_error(), "{answer}");
        let path = format!("/projects/v1/admin/{encoded}/sql");
        let answer = api.post(&path).bearer(&project.service_key).text("select 1").send().await;
        assert!(answer.status.is_client_error(), "{answer}");
    }
}
