//! Refusals that no other test meets on its way.

use serde_json::json;

use super::{PASSWORD, Pool, google, hosted::session_cookie};
use crate::support::{Appliance, control};

#[tokio::test]
async fn plain_http_on_a_public_name_gets_no_cookie() {
    let appliance = Appliance::plan().set("domain", "box.test").set("public_url", "http://api.box.test").boot();
    let pool = Pool::on(&appliance).await;
    pool.sign_up("ann@example.com").await;
    let name = "shop";
    let (replace, objects) = crate::support::deploy::site(&[("index.html", "home")]);
    pool.project.deploy(&json!({"site": {"replace": replace}, "subdomains": {"set": [name]}}), &objects).await;
    let host = format!("{name}.box.test");
    let body = format!("email=ann%40example.com&password={}", PASSWORD.replace(' ', "+")).into_bytes();
    let post = |appliance: &Appliance| {
        appliance
            .api()
            .post("/auth/sign-in")
            .header("host", &host)
            .header("origin", &format!("http://{host}"))
            .header("accept", "application/json")
            .body("application/x-www-form-urlencoded", body.clone())
            .send()
    };
    let answer = post(&appliance).await;
    assert_eq!((answer.status.as_u16(), answer.json()["code"].as_str()), (403, Some("HTTPS_REQUIRED")), "{answer}");
    assert!(session_cookie(&answer).is_none());
}

#[tokio::test]
async fn a_domain_taken_off_the_list_signs_nobody_in() {
    let (appliance, issuer) = google::with_issuer();
    let pool = Pool::on(appliance).await;
    let started = pool.start_google(&json!({"redirect_url": "http://localhost:5173/cb"})).await.is(200);
    let claims = json!({"sub": "d1", "email": "ann@gone.example", "email_verified": true});
    let (code, state) = issuer.signs_in(started["authorization_url"].as_str().expect("a URL"), &claims);
    let back = pool.api.get(&format!("/auth/v1/oauth/google/callback?code={code}&state={state}")).send().await;
    let location = back.header("location").expect("a location").to_owned();
    let code = location.split("code=").nth(1).and_then(|rest| rest.split('&').next()).expect("a code").to_owned();
    pool.settings(json!({"allowed_email_domains": ["here.example"]})).await;
    let grant = pool.post("/auth/v1/token?grant_type=authorization_code", &json!({"code": code})).send().await;
    grant.refused(403, "R402_AUTH_DOMAIN_NOT_ALLOWED");
    let users: i64 = control::control(appliance)
        .await
        .query_one("select count(*) from app_sessions where project_id = $1", &[&pool.project.id])
        .await
        .expect("the sessions")
        .get(0);
    assert_eq!(users, 0);
}
