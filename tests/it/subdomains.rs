//! Managed subdomains (contract 04 §8).

use serde_json::{Value, json};

use crate::{
    sites::get,
    support::{Answer, Appliance, Project},
};

async fn claim(project: &Project, name: &str, deployment: Value) -> Answer {
    let body = json!({"name": name, "deployment_id": deployment});
    Appliance::shared().api().post("/subdomains/v1").bearer(&project.service_key).json(&body).send().await
}

async fn list(project: &Project) -> Vec<Value> {
    let body = Appliance::shared().api().get("/subdomains/v1").bearer(&project.service_key).send().await.is(200);
    body["subdomains"].as_array().expect("rows").clone()
}

/// A name nobody else in this process claims.
fn fresh(prefix: &str) -> String {
    format!("{prefix}-{}", &uuid::Uuid::new_v4().simple().to_string()[..10])
}

#[tokio::test]
async fn a_claimed_name_serves_the_site_until_it_is_given_up() {
    let (appliance, api) = (Appliance::shared(), Appliance::shared().api());
    let project = api.provision().await;
    let first = project.deploy_site(&[("index.html", "one")]).await;
    let name = fresh("alpha");
    let claimed = claim(&project, &name, first["urls"]["deployment_id"].clone()).await.is(201);
    assert_eq!((&claimed["name"], &claimed["project_id"]), (&json!(name), &json!(project.id)));
    assert_eq!(claimed["url"], format!("http://{name}.localhost:{}", appliance.address().rsplit(':').next().unwrap()));
    assert_eq!(claimed["deployment_id"], first["urls"]["deployment_id"]);
    let host = format!("{name}.localhost");
    assert_eq!(get(appliance, &host, "/").text(), "one");

    let again = claim(&project, &name, first["release_id"].clone()).await.is(200);
    assert_eq!(again["created_at"], claimed["created_at"]);
    assert!(again["updated_at"].as_str() > claimed["updated_at"].as_str(), "{again}");

    let second = project.deploy_site(&[("index.html", "two")]).await;
    assert_eq!(get(appliance, &host, "/").text(), "two");
    let row = &list(&project).await[0];
    assert_eq!(row["deployment_id"], second["urls"]["deployment_id"], "an activation re-points every name");
    assert!(second["urls"]["project"].as_str().is_some_and(|url| url.contains(&host)), "{second}");

    claim(&project, &name, first["urls"]["deployment_id"].clone()).await.is(200);
    assert_eq!(get(appliance, &host, "/").text(), "one", "pinned by hand");
    project.deploy_site(&[("index.html", "three")]).await;
    assert_eq!(get(appliance, &host, "/").text(), "three");

    let read = api.get(&format!("/subdomains/v1/{name}")).send().await.is(200);
    assert_eq!(read["project_id"], project.id);
    let detail = api.get(&format!("/projects/v1/{}", project.id)).wallet(&project.owner).send().await.is(200);
    assert_eq!(detail["site_url"], claimed["url"]);
    assert_eq!(project.live().await["subdomains"]["names"], json!([name]));

    let gone = api.delete(&format!("/subdomains/v1/{name}")).bearer(&project.service_key).send().await.is(200);
    assert_eq!((&gone["status"], &gone["name"]), (&json!("deleted"), &json!(name)));
    assert_eq!(get(appliance, &host, "/").code(), "SUBDOMAIN_NOT_CONFIGURED");
    api.get(&format!("/subdomains/v1/{name}")).send().await.refused(404, "SUBDOMAIN_NOT_FOUND");
    api.delete(&format!("/subdomains/v1/{name}"))
        .bearer(&project.service_key)
        .send()
        .await
        .refused(404, "SUBDOMAIN_NOT_FOUND");
    let other = api.provision().await;
    claim(&other, &name, Value::Null).await.is(201);
}

#[tokio::test]
async fn a_name_has_one_owner_and_a_grammar() {
    let api = Appliance::shared().api();
    let (a, b) = (api.provision().await, api.provision().await);
    let deployed = a.deploy_site(&[("index.html", "a")]).await;
    let name = fresh("owned");
    claim(&a, &name, Value::Null).await.is(201);
    claim(&b, &name, Value::Null).await.refused(409, "SUBDOMAIN_TAKEN");
    let theirs = api.delete(&format!("/subdomains/v1/{name}")).bearer(&b.service_key).send().await;
    theirs.refused(403, "FORBIDDEN");
    for bad in ["ab", "-ab", "ab-", "a--b", "API", "a_b", "a.b", "", &"x".repeat(64)] {
        let body = claim(&a, bad, Value::Null).await.refused(400, "INVALID_SUBDOMAIN_NAME");
        assert!(body["message"].as_str().is_some_and(|message| message.contains("3-63")), "{body}");
    }
    for reserved in ["api", "www", "admin", "sites", "pr-x", "dpl-1-2", "localhost"] {
        claim(&a, reserved, Value::Null).await.refused(400, "SUBDOMAIN_RESERVED");
    }
    let other = deployed["urls"]["deployment_id"].clone();
    for unknown in [json!("dpl_1_nope"), json!("rel_nope"), json!("garbage"), other] {
        claim(&b, &fresh("x"), unknown).await.refused(404, "DEPLOYMENT_NOT_FOUND");
    }
    let body = json!({"name": fresh("x")});
    api.post("/subdomains/v1").json(&body).send().await.refused(401, "AUTHENTICATION_REQUIRED");
    api.post("/subdomains/v1").bearer(&a.anon_key).json(&body).send().await.refused(403, "ADMIN_REQUIRED");
    api.post("/subdomains/v1").bearer(&a.service_key).json(&json!({})).send().await.refused(400, "VALIDATION_ERROR");
}

#[tokio::test]
async fn a_purged_projects_name_is_held_for_its_owner() {
    let api = Appliance::shared().api();
    let (a, b) = (api.provision().await, api.provision().await);
    let name = fresh("held");
    claim(&a, &name, Value::Null).await.is(201);
    api.delete(&format!("/projects/v1/{}", a.id)).bearer(&a.service_key).send().await.ok();
    assert_eq!(get(Appliance::shared(), &format!("{name}.localhost"), "/").code(), "SUBDOMAIN_NOT_CONFIGURED");
    claim(&b, &name, Value::Null).await.refused(409, "SUBDOMAIN_RESERVED");
    let sibling = api.provision_for(&a.owner, "sibling").await;
    claim(&sibling, &name, Value::Null).await.is(201);
}
