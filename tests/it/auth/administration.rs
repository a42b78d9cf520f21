//! What the service key does with its users (06 §6.6-6.9, §18; checks 6, 12).

use serde_json::json;

use super::{PASSWORD, Pool, Tokens};

#[tokio::test]
async fn settings_are_partial_and_answer_whole() {
    let pool = Pool::new().await;
    let defaults = json!({
        "allow_password_set": false, "preferred_sign_in_method": null, "public_signup": "open",
        "require_passkey_for_project_admin": false, "allowed_email_domains": [],
    });
    assert_eq!(pool.service(pool.api.get("/auth/v1/settings")).send().await.is(200), defaults);
    assert_eq!(pool.settings(json!({})).await, defaults);
    let changed = pool
        .settings(json!({"public_signup": "invite_only", "allowed_email_domains": ["@Example.COM", "example.com"]}))
        .await;
    assert_eq!(changed["allowed_email_domains"], json!(["example.com"]));
    assert_eq!(changed["public_signup"], "invite_only");
    let kept = pool.settings(json!({"preferred_sign_in_method": "passkey"})).await;
    assert_eq!(kept["public_signup"], "invite_only");
    let body = json!({"email": "a@example.com", "password": PASSWORD});
    pool.post("/auth/v1/signup", &body).send().await.refused(403, "SIGNUP_DISABLED");
    for changes in [json!({"foo": 1}), json!({"public_signup": "x"}), json!({"allow_password_set": 1})] {
        let answer = pool.service(pool.api.patch("/auth/v1/settings")).json(&changes).send().await;
        answer.refused(400, "BAD_REQUEST");
    }
}

#[tokio::test]
async fn settings_and_users_are_for_the_service_key() {
    let pool = Pool::new().await;
    pool.sign_up("ann@example.com").await;
    let user = pool.log_in("ann@example.com").await.access;
    let other = Pool::new().await;
    for token in [&pool.project.anon_key, &user] {
        let call = || pool.api.patch("/auth/v1/settings").bearer(token).json(&json!({"public_signup": "open"}));
        call().send().await.refused(403, "FORBIDDEN");
        call().api_key(&pool.project.anon_key).send().await.refused(403, "FORBIDDEN");
        let made = pool.api.post("/auth/v1/admin/users").bearer(token).json(&json!({"email": "b@example.com"}));
        made.send().await.refused(403, "FORBIDDEN");
    }
    let foreign =
        pool.api.patch("/auth/v1/settings").api_key(&pool.project.anon_key).bearer(&other.project.service_key);
    foreign.json(&json!({})).send().await.refused(403, "FORBIDDEN");
    pool.api.patch("/auth/v1/settings").json(&json!({})).send().await.refused(401, "UNAUTHORIZED");
    pool.api.get("/auth/v1/settings").api_key(&pool.project.service_key).send().await.is(200);
}

#[tokio::test]
async fn promotion_and_demotion_change_the_role_of_the_next_token() {
    let pool = Pool::new().await;
    pool.sign_up("ann@example.com").await;
    let before = pool.log_in("ann@example.com").await;
    let set = |verb: &str, email: &str| {
        pool.api.post(&pool.project.path(verb)).bearer(&pool.project.service_key).json(&json!({"email": email})).send()
    };
    let body = set("promote-user", "Ann@example.com").await.is(200);
    assert_eq!(body, json!({"status": "promoted", "email": "ann@example.com", "is_admin": true}));
    set("promote-user", "ann@example.com").await.is(200);
    // The old token is stale on routes that ask for the session; refreshing brings the new role.
    pool.user(&before.access).await.refused(401, "R402_AUTH_SESSION_INVALID");
    let refreshed = Tokens::of(&pool.try_refresh(&before.refresh).await.is(200));
    assert_eq!(refreshed.claims()["role"], "project_admin");
    assert_eq!(refreshed.claims()["authz_version"], 2);
    pool.user(&refreshed.access).await.is(200);
    assert_eq!(set("demote-user", "ann@example.com").await.is(200)["is_admin"], false);
    pool.try_refresh(&refreshed.refresh).await.refused(401, "R402_AUTH_SESSION_INVALID");
    assert_eq!(pool.log_in("ann@example.com").await.claims()["role"], "authenticated");
    let missing = set("promote-user", "nobody@example.com").await.refused(404, "NOT_FOUND");
    assert_eq!(missing["message"], "User not found.");
    let call = pool.api.post(&pool.project.path("promote-user")).bearer(&pool.project.service_key);
    call.json(&json!({})).send().await.refused(400, "BAD_REQUEST");
    let other = Pool::new().await;
    let foreign = pool.api.post(&pool.project.path("promote-user")).bearer(&other.project.service_key);
    foreign.json(&json!({"email": "ann@example.com"})).send().await.refused(403, "FORBIDDEN");
}

#[tokio::test]
async fn an_admin_without_a_passkey_is_downgraded_where_one_is_required() {
    let pool = Pool::new().await;
    pool.sign_up("ann@example.com").await;
    let enrol = pool.service(pool.api.post("/auth/v1/admin/users"));
    enrol.json(&json!({"email": "ann@example.com", "is_admin": true})).send().await.is(200);
    let before = pool.log_in("ann@example.com").await;
    assert_eq!(before.claims()["role"], "project_admin");
    pool.settings(json!({"require_passkey_for_project_admin": true})).await;
    let body = pool.try_log_in("ann@example.com", PASSWORD).await.is(200);
    assert_eq!(body["elevation_required"], true);
    assert_eq!(body["required_method"], "passkey");
    assert_eq!(body["effective_role"], "authenticated");
    assert_eq!(body["intended_role"], "project_admin");
    assert_eq!(Tokens::of(&body).claims()["role"], "authenticated");
    let refreshed = Tokens::of(&pool.try_refresh(&before.refresh).await.is(200));
    assert_eq!(refreshed.claims()["role"], "authenticated");
}

#[tokio::test]
async fn users_are_made_updated_listed_and_deleted() {
    let pool = Pool::new().await;
    let enrol = |body: serde_json::Value| pool.service(pool.api.post("/auth/v1/admin/users")).json(&body).send();
    let made = enrol(json!({"email": "Ann@Example.com"})).await.is(200);
    assert_eq!(
        (&made["email"], &made["created"], &made["is_admin"], &made["invite_sent"], &made["email_verified_at"]),
        (&json!("ann@example.com"), &json!(true), &json!(false), &json!(false), &json!(null))
    );
    let again = enrol(json!({"email": "ann@example.com", "is_admin": true})).await.is(200);
    assert_eq!((&again["id"], &again["created"], &again["is_admin"]), (&made["id"], &json!(false), &json!(true)));
    assert_eq!(enrol(json!({"email": "ann@example.com"})).await.is(200)["is_admin"], true, "unchanged when omitted");
    enrol(json!({"email": "x"})).await.refused(400, "BAD_REQUEST");
    enrol(json!({"email": "b@example.com", "send_invite": true})).await.refused(400, "BAD_REQUEST");
    let evil = json!({"email": "b@example.com", "send_invite": true, "redirect_url": "https://evil.example/"});
    enrol(evil).await.refused(400, "REDIRECT_NOT_ALLOWED");
    for name in ["b", "c"] {
        enrol(json!({"email": format!("{name}@example.com")})).await.is(200);
    }
    let list = |query: String| pool.service(pool.api.get(&format!("/auth/v1/admin/users{query}"))).send();
    let page = list("?limit=2".into()).await.is(200);
    let emails = |page: &serde_json::Value| -> Vec<String> {
        page["users"]
            .as_array()
            .expect("users")
            .iter()
            .map(|user| user["email"].as_str().expect("email").to_owned())
            .collect()
    };
    assert_eq!(emails(&page), ["c@example.com", "b@example.com"]);
    assert_eq!(page["has_more"], true);
    let next = list(format!("?limit=2&after={}", page["next_cursor"].as_str().expect("a cursor"))).await.is(200);
    assert_eq!((emails(&next), &next["has_more"]), (vec!["ann@example.com".to_owned()], &json!(false)));
    let delete = |id: String| pool.service(pool.api.delete(&format!("/auth/v1/admin/users/{id}"))).send();
    let id = made["id"].as_str().expect("an id").to_owned();
    assert_eq!(delete(id.clone()).await.is(200), json!({"status": "deleted", "id": id}));
    delete(id).await.refused(404, "NOT_FOUND");
    delete("nonsense".into()).await.refused(404, "NOT_FOUND");
}

#[tokio::test]
async fn providers_say_how_to_sign_in() {
    let pool = Pool::new().await;
    let body = pool.api.get("/auth/v1/providers").api_key(&pool.project.anon_key).send().await.is(200);
    assert_eq!(body["password"], json!({"enabled": true}));
    assert_eq!(body["magic_link"], json!({"enabled": true}));
    assert_eq!(body["oauth"], json!([{"provider": "google", "enabled": false, "display_name": "Google"}]));
    assert_eq!(body["password_set"], json!({"enabled": false}));
    assert_eq!(body["public_signup"], "open");
    pool.api.get("/auth/v1/providers").send().await.refused(401, "UNAUTHORIZED");
}
