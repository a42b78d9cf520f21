//! Function secrets over HTTP (contract 05 §7; checks 12 of §17 there, 12 and 22 of 03 §17 as far as they are about
//! values).

use serde_json::{Value, json};

use crate::support::{Answer, Api, Appliance, Project, control};

fn api() -> Api {
    Appliance::shared().api()
}

async fn project() -> Project {
    api().provision().await
}

async fn set(project: &Project, body: Value) -> Answer {
    api().post(&project.path("secrets")).bearer(&project.service_key).json(&body).send().await
}

async fn list(project: &Project) -> Vec<Value> {
    let answer = api().get(&project.path("secrets")).bearer(&project.service_key).send().await.is(200);
    answer.as_array().unwrap_or_else(|| panic!("a bare list: {answer}")).clone()
}

async fn keys(project: &Project) -> Vec<String> {
    list(project).await.iter().map(|row| row["key"].as_str().expect("a key").to_owned()).collect()
}

async fn delete(project: &Project, key: &str) -> Answer {
    api().delete(&project.path(&format!("secrets/{key}"))).bearer(&project.service_key).send().await
}

#[tokio::test]
async fn a_secret_is_set_listed_replaced_and_deleted_without_ever_showing_its_value() {
    let project = project().await;
    assert_eq!(list(&project).await, Vec::<Value>::new());
    let answer = set(&project, json!({"key": "B_KEY", "value": "first-value-4711"})).await;
    assert_eq!(answer.is(201), json!({"status": "set", "key": "B_KEY"}));
    set(&project, json!({"key": "A_KEY", "value": ""})).await.is(201);
    let rows = list(&project).await;
    assert_eq!(keys(&project).await, ["A_KEY", "B_KEY"]);
    let fields: Vec<&String> = rows[1].as_object().unwrap().keys().collect();
    assert_eq!(fields, ["created_at", "key", "updated_at"]);
    assert_eq!(rows[1]["created_at"], rows[1]["updated_at"]);

    set(&project, json!({"key": "B_KEY", "value": "second-value-4711"})).await.is(201);
    let again = list(&project).await;
    assert_eq!(again[1]["created_at"], rows[1]["created_at"]);
    assert_ne!(again[1]["updated_at"], rows[1]["updated_at"]);
    assert!(!json!(again).to_string().contains("4711"));

    assert_eq!(delete(&project, "B_KEY").await.is(200), json!({"status": "deleted", "key": "B_KEY"}));
    delete(&project, "B_KEY").await.refused(404, "SECRET_NOT_FOUND");
    delete(&project, "lower").await.refused(404, "SECRET_NOT_FOUND");
    assert_eq!(keys(&project).await, ["A_KEY"]);
}

#[tokio::test]
async fn names_and_values_of_another_shape_are_refused_and_not_repeated() {
    let project = project().await;
    let value = "do-not-repeat-me";
    for (body, code) in [
        (json!({"key": "lower_case", "value": value}), "INVALID_SECRET_KEY"),
        (json!({"key": "1A", "value": value}), "INVALID_SECRET_KEY"),
        (json!({"key": "A".repeat(129), "value": value}), "INVALID_SECRET_KEY"),
        (json!({"key": ["A"], "value": value}), "INVALID_SECRET_KEY"),
        (json!({"value": value}), "INVALID_SECRET_KEY"),
        (json!({"key": "A"}), "INVALID_SECRET_VALUE"),
        (json!({"key": "A", "value": null}), "INVALID_SECRET_VALUE"),
        (json!({"key": "A", "value": {value: value}}), "INVALID_SECRET_VALUE"),
        (json!({"key": "A", "value": format!("{value}{}", "x".repeat(4096))}), "INVALID_SECRET_VALUE"),
        (json!({"key": "A", "value": format!("{value}{}", "é".repeat(2048))}), "INVALID_SECRET_VALUE"),
    ] {
        let refusal = set(&project, body.clone()).await.refused(400, code);
        assert!(!refusal.to_string().contains(value), "{refusal}");
    }
    let call = |body: &str| api().post(&project.path("secrets")).bearer(&project.service_key).text(body);
    let broken = format!("{{\"key\": \"A\", \"value\": \"{value}");
    let refusal = call(&broken).header("content-type", "application/json").send().await;
    assert!(refusal.status.is_client_error() && !refusal.text().contains(value), "{refusal}");
    let huge = json!({"key": "A", "value": "x".repeat(100_000)});
    set(&project, huge).await.refused(413, "PAYLOAD_TOO_LARGE");
    assert!(keys(&project).await.is_empty());
    set(&project, json!({"key": "A", "value": "é".repeat(2048)})).await.is(201);
}

#[tokio::test]
async fn secrets_open_to_the_service_key_and_to_members_who_may_write_them() {
    let (project, other) = (project().await, project().await);
    let path = project.path("secrets");
    let body = json!({"key": "A", "value": "v"});
    api().get(&path).send().await.refused(401, "AUTHENTICATION_REQUIRED");
    api().get(&path).bearer("nonsense").send().await.refused(401, "UNAUTHORIZED");
    api().post(&path).bearer(&project.anon_key).json(&body).send().await.refused(403, "ADMIN_REQUIRED");
    api().post(&path).bearer(&other.service_key).json(&body).send().await.refused(403, "FORBIDDEN");
    api().post(&path).wallet(&other.owner).json(&body).send().await.refused(403, "NOT_AUTHORIZED");
    api().get("/projects/v1/admin/prj_nope/secrets").wallet(&other.owner).send().await.refused(403, "NOT_AUTHORIZED");
    api().delete(&format!("{path}/A")).wallet(&other.owner).send().await.refused(403, "NOT_AUTHORIZED");
    api().post(&path).wallet(&project.owner).json(&body).send().await.is(201);
    assert_eq!(api().get(&path).wallet(&project.owner).send().await.is(200)[0]["key"], "A");
    api().delete(&format!("{path}/A")).wallet(&project.owner).send().await.is(200);
}

#[tokio::test]
async fn an_organisation_has_room_for_as_many_names_as_its_tier_says() {
    let project = project().await;
    let sibling = api().provision_for(&project.owner, "sibling").await;
    for index in 0..10 {
        let home = if index % 2 == 0 { &project } else { &sibling };
        set(home, json!({"key": format!("K{index}"), "value": "v"})).await.is(201);
    }
    let refusal = set(&project, json!({"key": "ONE_MORE", "value": "v"})).await.refused(403, "TIER_LIMIT_EXCEEDED");
    assert_eq!(
        (&refusal["details"]["scope"], &refusal["details"]["limit"], &refusal["details"]["used"]),
        (&json!("organization"), &json!(10), &json!(10))
    );
    set(&project, json!({"key": "K0", "value": "another"})).await.is(201);
    delete(&sibling, "K1").await.is(200);
    let both = tokio::join!(
        set(&project, json!({"key": "RACE_A", "value": "v"})),
        set(&sibling, json!({"key": "RACE_B", "value": "v"})),
    );
    let mut statuses = [both.0.status.as_u16(), both.1.status.as_u16()];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 403], "two requests cannot both take the last place");
}

#[tokio::test]
async fn values_are_sealed_at_rest_absent_from_logs_and_gone_with_the_project() {
    let appliance = Appliance::shared();
    let project = project().await;
    let value = "at-rest-value-90125";
    set(&project, json!({"key": "A", "value": value})).await.is(201);
    set(&project, json!({"key": "B", "value": value})).await.is(201);
    let control = control::control(appliance).await;
    let rows = control.query("select sealed from project_secrets where project_id = $1", &[&project.id]).await.unwrap();
    let sealed: Vec<Vec<u8>> = rows.iter().map(|row| row.get(0)).collect();
    assert_eq!(sealed.len(), 2);
    assert_ne!(sealed[0], sealed[1]);
    for bytes in &sealed {
        assert!(!bytes.windows(value.len()).any(|window| window == value.as_bytes()));
    }
    assert!(!appliance.log_tail().contains(value));
    api().delete(&format!("/projects/v1/{}", project.id)).bearer(&project.service_key).send().await.is(200);
    let left = control.query("select 1 from project_secrets where project_id = $1", &[&project.id]).await.unwrap();
    assert!(left.is_empty());
}

#[tokio::test]
async fn a_deploy_deletes_the_values_it_names_when_it_becomes_live() {
    let project = project().await;
    set(&project, json!({"key": "OLD", "value": "v"})).await.is(201);
    set(&project, json!({"key": "NEW", "value": "v"})).await.is(201);
    let spec = json!({"secrets": {"require": ["NEW"], "delete": ["OLD"]}});
    let plan = project.plan(&spec).await.is(200);
    assert_eq!(plan["secrets"]["added"], json!(["NEW"]));
    assert_eq!(keys(&project).await, ["NEW", "OLD"], "a plan deletes nothing");
    let answer = project.commit_plan(&plan).await.is(200);
    assert_eq!(project.settled(answer).await["status"], "ready");
    assert_eq!(keys(&project).await, ["NEW"]);
    assert_eq!(project.live().await["secrets"]["keys"], json!(["NEW"]));
    let again = project.plan(&json!({"secrets": {"delete": ["NEVER"]}})).await.is(200);
    project.commit_plan(&again).await.refused(422, "SECRET_NOT_FOUND");
}
