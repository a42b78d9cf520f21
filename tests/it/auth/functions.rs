//! App users in functions: routed with a session, called with a token (05 §8.5-8.7, §10.7, 06 §9-10; checks 5, 18-20,
//! 22-25, 29).

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::{
    PASSWORD, Pool,
    hosted::{Site, session_cookie},
    part,
};
use crate::{
    functions::function,
    support::{Answer, Appliance, control, eventually},
};

/// One function for everything, by the last word of the path.
const APP: &str = r#"
import { auth } from "@run402/functions";
const answers = {
  user: () => auth.user(),
  require: () => auth.requireUser(),
  headers: (request) => Object.fromEntries([...request.headers].filter(([name]) => name.startsWith("x-run402-"))),
  form: () => ({ csrf: auth.csrfToken() }),
  fresh: () => auth.requireFresh({ maxAge: "5m" }).then(() => ({ fresh: true })),
  passkey: () => auth.requireFresh({ maxAge: "5m", amr: ["passkey"] }).then(() => ({ fresh: true })),
  security: () => auth.account.getSecurity(),
  password: async (request) => {
    await auth.account.setPassword(...((await request.json()).arguments));
    return { ok: true };
  },
  sessions: () => auth.account.sessions.list(),
  role: () => auth.requireRole("operator"),
  membership: () => auth.requireMembership("club"),
  unknown: () => auth.currentUser,
  link: () => auth.identities.link({}),
  invalid: () => { throw auth.invalidCredentials(); },
  absolute: () => auth.fetch("https://evil.example/"),
  end: () => auth.sessions.endResponse(),
  mint: async (request) => auth.sessions.createResponseFromTenantAssertion(await request.json()),
  raw: async (request) => new Response("not for you", { headers: {
    "x-run402-mint-directive": (await request.json()).directive, "x-mine": "1", "set-cookie": "mine=1" } }),
};
export default async (request) => {
  const answer = await answers[new URL(request.url).pathname.split("/").pop()](request);
  return answer instanceof Response ? answer : Response.json(answer);
};
"#;

/// A site whose `/app/*` is the function, with a user.
async fn app() -> Site {
    let site = Site::new().await;
    deploy(&site.pool, &json!({})).await;
    site.pool.sign_up("ann@example.com").await;
    site
}

async fn deploy(pool: &Pool, more: &Value) {
    let spec = json!({
        "functions": {"replace": {"app": function(APP, more)}},
        "routes": {"replace": [{"pattern": "/app/*", "target": {"type": "function", "name": "app"}}]},
    });
    pool.project.deploy(&spec, &[APP.as_bytes()]).await;
}

fn json_get(site: &Site, word: &str) -> crate::support::Call {
    site.call(Method::GET, &format!("/app/{word}")).header("accept", "application/json")
}

async fn ask(site: &Site, word: &str) -> Answer {
    json_get(site, word).send().await
}

/// A POST of the site's own page.
async fn post(site: &Site, word: &str, body: &Value) -> Answer {
    site.json(&format!("/app/{word}"), body).send().await
}

fn code(answer: &Answer) -> (u16, String) {
    (answer.status.as_u16(), answer.json()["code"].as_str().unwrap_or_default().to_owned())
}

fn refused(answer: &Answer, status: u16, expected: &str) {
    assert_eq!(code(answer), (status, expected.to_owned()), "{answer}");
}

#[tokio::test]
async fn a_direct_call_knows_the_user_of_a_valid_token_of_its_project_alone() {
    let (site, other) = (app().await, Pool::new().await);
    let pool = &site.pool;
    other.sign_up("ann@example.com").await;
    let (mine, theirs) = (pool.log_in("ann@example.com").await, other.log_in("ann@example.com").await);
    let call = || pool.project.invoke("app/user");
    for anonymous in [
        call(),
        call().bearer(&pool.project.anon_key),
        call().bearer(&pool.project.service_key),
        call().bearer(&theirs.access),
        call().bearer("garbage"),
        call().bearer(&format!("{}x", mine.access)),
    ] {
        assert_eq!(anonymous.send().await.is(200), Value::Null);
    }
    let user = call().bearer(&mine.access).send().await.is(200);
    assert_eq!((&user["id"], &user["email"]), (&mine.body["user"]["id"], &json!("ann@example.com")));
    assert_eq!((&user["sessionId"], &user["emailVerified"]), (&mine.claims()["session_id"], &json!(false)));
}

#[tokio::test]
async fn a_page_that_needs_a_user_sends_browsers_to_sign_in_and_tells_programs() {
    let site = app().await;
    let page = site.get("/app/require?x=1").await;
    assert_eq!(
        (page.status.as_u16(), page.header("location")),
        (303, Some("/auth/sign-in?returnTo=%2Fapp%2Frequire%3Fx%3D1")),
        "{page}"
    );
    refused(&ask(&site, "require").await, 401, "R402_AUTH_REQUIRED");
    let browser = site.enter("ann@example.com").await;
    let answer = browser.get("/app/require").await;
    let user = answer.is(200);
    assert_eq!((&user["email"], &user["amr"]), (&json!("ann@example.com"), &json!(["password"])));
    assert_eq!(user["amrTimes"]["password"], user["authTime"]);
    assert!(answer.header("cache-control").is_some_and(|value| value.contains("no-store")), "{answer}");
    // The real session, so that forms made of it are accepted.
    let id = browser.cookie.as_deref().and_then(|cookie| cookie.split('.').nth(1)).expect("an id");
    assert_eq!(user["sessionId"], id);
    // A Bearer is no user of a page.
    let tokens = site.pool.log_in("ann@example.com").await;
    assert_eq!(json_get(&site, "user").bearer(&tokens.access).send().await.is(200), Value::Null);
}

#[tokio::test]
async fn a_function_is_told_of_its_visitor_in_signed_words() {
    let site = app().await;
    let browser = site.enter("ann@example.com").await;
    let answer = browser.call(Method::GET, "/app/headers?q=1").header("accept", "application/json").send().await;
    let headers = answer.is(200);
    let (claims, signature) =
        headers["x-run402-actor-context"].as_str().and_then(|text| text.split_once('.')).expect("an envelope");
    let claims = URL_SAFE_NO_PAD.decode(claims).expect("base64url");
    let envelope: Value = serde_json::from_slice(&claims).expect("JSON");
    let project = &site.pool.project;
    let keys = site.pool.api.get("/internal/v1/actor-context-keys").bearer(&project.service_key).send().await.is(200);
    let key = keys["keys"][envelope["kid"].as_str().expect("a kid")].as_str().expect("its key").to_owned();
    let key = base64::engine::general_purpose::STANDARD.decode(key).expect("base64");
    assert_eq!(URL_SAFE_NO_PAD.decode(signature).expect("base64url"), hmac(&key, &claims));
    for (name, expected) in [
        ("v", json!(1)),
        ("iss", json!("run402-gateway")),
        ("aud", json!("run402-functions-runtime")),
        ("project_id", json!(project.id)),
        ("request_id", json!(answer.header("x-run402-request-id"))),
        ("method", json!("GET")),
        ("host", json!(site.host)),
        ("path_hash", json!(hex::encode(Sha256::digest(b"/app/headers")))),
    ] {
        assert_eq!(envelope[name], expected, "{name}");
    }
    let life = envelope["exp"].as_i64().expect("exp") - envelope["iat"].as_i64().expect("iat");
    assert!((1..=60).contains(&life), "{life}");
    assert_eq!(envelope["actor"]["email"], "ann@example.com");
    let token = headers["x-run402-actor-token"].as_str().expect("a token");
    let claims = part(token, 1);
    assert_eq!((&claims["sub"], &claims["role"]), (&envelope["actor"]["id"], &json!("authenticated")));
    let life = claims["exp"].as_i64().expect("exp") - claims["iat"].as_i64().expect("iat");
    assert!((60..=75).contains(&life), "{life}");
    // It is good for the visitor's own rows and account.
    site.pool.user(token).await.is(200);
    // Once the session ends, so does the token where sessions count.
    browser.post("/auth/sign-out", &[("_csrf", &browser.csrf().await)]).await;
    site.pool.user(token).await.refused(401, "R402_AUTH_SESSION_INVALID");
}

fn hmac(key: &[u8], message: &[u8]) -> Vec<u8> {
    use hmac::{Hmac, KeyInit, Mac};
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("any length");
    mac.update(message);
    mac.finalize().into_bytes().to_vec()
}

#[tokio::test]
async fn nobody_but_the_gateway_says_who_visits() {
    let site = app().await;
    let browser = site.enter("ann@example.com").await;
    let real = browser.call(Method::GET, "/app/headers").send().await.is(200);
    let spoofed = |word: &str| {
        json_get(&site, word)
            .header("x-run402-actor-context", real["x-run402-actor-context"].as_str().expect("an envelope"))
            .header("x-run402-actor-token", real["x-run402-actor-token"].as_str().expect("a token"))
            .header("x-run402-user-id", "evil")
            .header("x-run402-user-role", "admin")
            .send()
    };
    let headers = spoofed("headers").await.is(200);
    for name in ["x-run402-actor-context", "x-run402-actor-token", "x-run402-user-id", "x-run402-user-role"] {
        assert_eq!(headers[name], Value::Null, "{name}");
    }
    assert_eq!(spoofed("user").await.is(200), Value::Null);
    eventually("the attempt is in the log", Duration::from_secs(5), async || {
        Appliance::shared().log_tail().contains("R402_AUTH_ACTOR_HEADER_SPOOF").then_some(())
    })
    .await;
}

#[tokio::test]
async fn a_revoked_session_is_gone_with_the_next_request_and_its_cookie_is_taken_away() {
    let site = app().await;
    let (here, there) = (site.enter("ann@example.com").await, site.enter("ann@example.com").await);
    let there_csrf = there.csrf().await;
    assert_eq!(ask(&here, "user").await.is(200)["email"], "ann@example.com");
    there.post("/auth/account/sign-out-everywhere", &[("_csrf", &there_csrf)]).await;
    let answer = ask(&here, "user").await;
    assert_eq!(answer.is(200), Value::Null);
    assert!(session_cookie(&answer).is_some_and(|cookie| cookie.contains("Max-Age=0")), "{answer}");
    // Too long unused.
    let idle = site.enter("ann@example.com").await;
    let id = idle.cookie.as_deref().and_then(|cookie| cookie.split('.').nth(1)).expect("an id").to_owned();
    control::move_time(
        Appliance::shared(),
        "update app_sessions set last_seen_at = last_seen_at - interval '15 days' where id = $1::text::uuid",
        &[&id],
    )
    .await;
    assert_eq!(ask(&idle, "user").await.is(200), Value::Null);
    let json = idle.json("/auth/passkeys/register/options", &json!({"app_origin": site.origin()})).send().await;
    refused(&json, 401, "R402_AUTH_SESSION_EXPIRED");
}

#[tokio::test]
async fn another_site_cannot_post_to_a_function_with_the_visitors_cookie() {
    let site = app().await;
    let browser = site.enter("ann@example.com").await;
    let from = |origin: &str| browser.json("/app/user", &json!({})).header("origin", origin).send();
    for origin in ["https://evil.example", "null", ""] {
        refused(&from(origin).await, 403, "R402_AUTH_CSRF_ORIGIN_MISMATCH");
    }
    assert_eq!(from(&site.origin()).await.is(200)["email"], "ann@example.com");
    // Without a cookie there is nothing to abuse.
    let anonymous = site.json("/app/user", &json!({})).header("origin", "https://evil.example").send().await;
    assert_eq!(anonymous.is(200), Value::Null);
    site.pool.sign_up("bob@example.com").await;
    let bob = site.pool.log_in("bob@example.com").await;
    refused(&json_get(&browser, "user").bearer(&bob.access).send().await, 400, "R402_AUTH_BEARER_COOKIE_MISMATCH");
    refused(&json_get(&browser, "user").bearer("garbage").send().await, 401, "R402_AUTH_INVALID_BEARER");
}

#[tokio::test]
async fn forms_rendered_by_a_function_are_accepted_by_the_hosted_routes() {
    let site = app().await;
    let browser = site.enter("ann@example.com").await;
    let answer = ask(&browser, "form").await;
    let token = answer.is(200)["csrf"].as_str().expect("a token").to_owned();
    assert_eq!(token, browser.csrf().await, "made of the real session");
    // Code that knows the envelope alone takes the request's id for the session's.
    let envelope = ask(&browser, "headers").await;
    let request = envelope.header("x-run402-request-id").expect("an id").to_owned();
    let at = ask(&browser, "user").await.is(200)["authTime"].to_string();
    let made = |request: &str| hex::encode(&Sha256::digest(format!("{request}:{at}:csrf").as_bytes())[..16]);
    let sign_out = |token: String| {
        let call = browser.form("/auth/sign-out", &[("_csrf", token.as_str())]).header("accept", "application/json");
        async move { call.send().await }
    };
    refused(&sign_out(made("req_000000000000000000000000")).await, 403, "R402_AUTH_CSRF_TOKEN_MISMATCH");
    assert_eq!(sign_out(made(&request)).await.status, 303);
    assert_eq!(browser.session().await["authenticated"], false);
}

#[tokio::test]
async fn a_function_looks_after_its_visitors_account() {
    let site = app().await;
    let (browser, other) = (site.enter("ann@example.com").await, site.enter("ann@example.com").await);
    let security = ask(&browser, "security").await.is(200);
    assert_eq!(
        (&security["has_run402_password"], &security["passkey_rp_scope"], &security["run402_passkey_count"]),
        (&json!(true), &json!("host"), &json!(0)),
        "{security}"
    );
    assert_eq!(security["current_rp_id"], site.host.split(':').next().expect("a name"));
    assert_eq!(ask(&browser, "fresh").await.is(200), json!({"fresh": true}));
    refused(&ask(&browser, "passkey").await, 401, "R402_AUTH_FRESHNESS_REQUIRED");
    let page = browser.get("/app/passkey").await;
    assert_eq!(page.header("location"), Some("/auth/re-auth?returnTo=%2Fapp%2Fpasskey"), "{page}");
    let set = |text: &str| json!({"arguments": [text]});
    browser.age(6).await;
    refused(&post(&browser, "password", &set("a better one")).await, 401, "R402_AUTH_FRESHNESS_REQUIRED");
    let renewed = browser
        .post("/auth/re-auth", &[("_csrf", &browser.csrf().await), ("password", PASSWORD), ("returnTo", "/")])
        .await;
    let browser = browser.after(&renewed);
    assert_eq!(post(&browser, "password", &set("a better one")).await.is(200), json!({"ok": true}));
    assert_eq!(other.session().await["authenticated"], false, "a new password ends the other sessions");
    assert_eq!(browser.session().await["authenticated"], true);
    assert_eq!(site.pool.try_log_in("ann@example.com", "a better one").await.status, 200);
}

#[tokio::test]
async fn thrown_errors_keep_their_code_and_status() {
    let site = app().await;
    let browser = site.enter("ann@example.com").await;
    for (word, status, expected) in [
        ("role", 500, "R402_AUTH_ROLE_GATE_NOT_CONFIGURED"),
        ("membership", 501, "R402_AUTH_MEMBERSHIP_GATE_NOT_WIRED"),
        ("unknown", 500, "R402_AUTH_UNKNOWN_EXPORT"),
        ("link", 400, "R402_AUTH_RENAMED_EXPORT"),
        ("invalid", 401, "R402_AUTH_INVALID_CREDENTIALS"),
        ("absolute", 500, "R402_AUTH_FETCH_ABSOLUTE_URL"),
    ] {
        refused(&ask(&browser, word).await, status, expected);
    }
    let page = browser.get("/app/invalid").await;
    assert_eq!(page.status, 401, "a form answers this itself: {page}");
}

#[tokio::test]
async fn a_role_gate_lets_its_role_in_and_tells_the_function() {
    let site = Site::new().await;
    let pool = &site.pool;
    let (ann, bob) = (pool.sign_up("ann@example.com").await, pool.sign_up("bob@example.com").await);
    let members = format!(
        "create table members (user_id uuid primary key, role text not null);
         insert into members values ('{}', 'operator'), ('{}', 'guest')",
        ann["id"].as_str().expect("an id"),
        bob["id"].as_str().expect("an id"),
    );
    pool.project.sql(&members).await.is(200);
    let gate = json!({"table": "members", "id_column": "user_id", "role_column": "role",
        "allowed": ["operator", "owner"], "cache_ttl": 0});
    deploy(pool, &json!({"require_role": gate})).await;
    refused(&ask(&site, "role").await, 401, "R402_AUTH_REQUIRED");
    let ann = site.enter("ann@example.com").await;
    let told = ask(&ann, "role").await.is(200);
    assert_eq!((&told["role"], &told["user"]["email"]), (&json!("operator"), &json!("ann@example.com")));
    let bob = site.enter("bob@example.com").await;
    let denied = ask(&bob, "role").await;
    refused(&denied, 403, "ROLE_FORBIDDEN");
    assert_eq!(denied.json()["allowed_roles"], json!(["operator", "owner"]));
    pool.project.sql("update members set role = 'owner' where role = 'operator'").await.is(200);
    refused(&ask(&ann, "role").await, 403, "R402_AUTH_INSUFFICIENT_ROLE");
}

fn assertion(id: &str, email: &str) -> Value {
    json!({"tenant": "acme", "user": {"id": id, "email": email, "emailVerified": true}, "method": "password"})
}

async fn allow_minting(pool: &Pool) {
    let path = pool.project.path("functions/app");
    let body = json!({"capabilities": ["auth.sessionMint"]});
    pool.api.patch(&path).bearer(&pool.project.service_key).json(&body).send().await.is(200);
}

#[tokio::test]
async fn a_trusted_function_signs_its_own_users_in() {
    let site = app().await;
    let forbidden = post(&site, "mint", &assertion("42", "a@b.co")).await;
    refused(&forbidden, 403, "R402_AUTH_UNTRUSTED_CONTEXT");
    assert!(forbidden.header("set-cookie").is_none() && forbidden.header("x-run402-mint-directive").is_none());
    allow_minting(&site.pool).await;
    let minted = post(&site, "mint", &assertion("42", "a@b.co")).await;
    let body = minted.is(200);
    assert_eq!((&body["ok"], &body["user"]["email"]), (&json!(true), &json!("a@b.co")));
    assert_eq!(minted.header("cache-control"), Some("no-store"));
    assert!(minted.header("x-run402-mint-directive").is_none());
    let browser = site.after(&minted);
    let user = ask(&browser, "user").await.is(200);
    assert_eq!((&user["id"], &user["amr"]), (&body["user"]["id"], &json!(["tenant_password"])));
    // The same subject is the same user, whatever address he has now.
    let again = post(&site, "mint", &assertion("42", "new@b.co")).await.is(200);
    assert_eq!(again["user"]["id"], body["user"]["id"]);
    // An address is no proof: an account that has it stays apart.
    let taken = post(&site, "mint", &assertion("43", "ann@example.com")).await.is(200);
    let ann = site.pool.log_in("ann@example.com").await;
    assert_ne!(taken["user"]["id"], ann.body["user"]["id"]);
    let security = ask(&browser, "security").await.is(200);
    assert_eq!(
        security["tenant_assertions"],
        json!([{"issuer": "tenant:acme", "last_amr": ["tenant_password"]}]),
        "{security}"
    );
    let events: i64 = control::control(Appliance::shared())
        .await
        .query_one(
            "select count(*) from app_auth_audit where project_id = $1 and event = 'session_minted'",
            &[&site.pool.project.id],
        )
        .await
        .expect("the trail")
        .get(0);
    assert_eq!(events, 3);
}

#[tokio::test]
async fn assertions_that_are_not_clear_or_claim_too_much_are_refused() {
    let site = app().await;
    allow_minting(&site.pool).await;
    let raw = async |directive: &Value| {
        let encoded = URL_SAFE_NO_PAD.encode(directive.to_string());
        post(&site, "raw", &json!({"directive": encoded})).await
    };
    let directive = |user: Value| json!({"v": 1, "tenant": "t", "user": user, "method": "password"});
    for user in [
        json!({"id": "", "email": "a@b.co"}),
        json!({"id": "a@b.co", "email": "A@b.co"}),
        json!({"email": "a@b.co"}),
        json!({"id": "1", "email": "no address"}),
    ] {
        refused(&raw(&directive(user)).await, 400, "R402_AUTH_TENANT_SUBJECT_INVALID");
    }
    refused(&post(&site, "raw", &json!({"directive": "????"})).await, 400, "R402_AUTH_TENANT_SUBJECT_INVALID");
    let mut claims = directive(json!({"id": "1", "email": "a@b.co"}));
    claims["advanced"] = json!({"amr": ["passkey"]});
    refused(&raw(&claims).await, 403, "R402_AUTH_UNTRUSTED_CONTEXT");
    let reserved = directive(json!({"id": "2", "email": "x@mail.localhost"}));
    refused(&raw(&reserved).await, 400, "R402_AUTH_RESERVED_EMAIL_DOMAIN");
    // The module says the first of these itself.
    refused(&post(&site, "mint", &assertion("a@b.co", "a@b.co")).await, 400, "R402_AUTH_TENANT_SUBJECT_INVALID");
    // Nothing of what the function said itself reaches the browser.
    let good = raw(&directive(json!({"id": "3", "email": "c@b.co"}))).await;
    assert_eq!(good.is(200)["ok"], true);
    assert!(good.header("x-mine").is_none() && !format!("{:?}", good.headers).contains("mine=1"), "{good}");
    // Called directly there is no browser to sign in.
    let encoded = URL_SAFE_NO_PAD.encode(directive(json!({"id": "4"})).to_string());
    let direct = site.pool.project.invoke("app/raw").json(&json!({"directive": encoded})).send().await;
    refused(&direct, 403, "R402_AUTH_UNTRUSTED_CONTEXT");
    assert!(direct.header("x-run402-mint-directive").is_none() && direct.header("set-cookie").is_none());
}

#[tokio::test]
async fn a_function_that_ends_the_session_ends_the_row_as_well() {
    let site = app().await;
    let browser = site.enter("ann@example.com").await;
    let answer = post(&browser, "end", &json!({})).await;
    assert_eq!(answer.is(200), json!({"ok": true}));
    assert!(session_cookie(&answer).is_some_and(|cookie| cookie.contains("Max-Age=0")), "{answer}");
    assert_eq!(browser.session().await["authenticated"], false, "the old cookie is dead");
    let again = post(&site, "end", &json!({})).await;
    assert_eq!(again.is(200), json!({"ok": true}));
}

#[tokio::test]
async fn a_rotated_key_reaches_functions_that_run_already() {
    let site = app().await;
    let pool = &site.pool;
    let user = async || {
        let tokens = pool.log_in("ann@example.com").await;
        pool.project.invoke("app/user").bearer(&tokens.access).send().await.is(200)
    };
    assert_eq!(user().await["email"], "ann@example.com");
    pool.api.post("/auth/v1/admin/keys/rotate").bearer(&pool.project.service_key).send().await.is(200);
    assert_eq!(user().await["email"], "ann@example.com");
}

#[tokio::test]
async fn the_sign_up_hook_runs_once_for_each_who_signs_up_and_stops_nobody() {
    let pool = Pool::new().await;
    pool.project.sql("create table signups (body jsonb, trigger text)").await.is(200);
    let hook = r#"
        import { adminDb } from "@run402/functions";
        export default async (request) => {
          const body = await request.json();
          await adminDb().from("signups").insert({ body, trigger: request.headers.get("x-run402-trigger") });
          if (request.headers.has("authorization")) throw new Error("no user is here");
          if (body.user.email.startsWith("bad")) throw new Error("refused");
          return new Response("ok");
        };"#;
    let spec = json!({"functions": {"replace": {"on-signup": function(hook, &json!({}))}}});
    pool.project.deploy(&spec, &[hook.as_bytes()]).await;
    let rows =
        async || pool.project.sql("select body, trigger from signups order by body->'user'->>'email'").await.is(200);
    let made = pool.sign_up("ann@example.com").await;
    pool.sign_up("bad@example.com").await;
    pool.log_in("ann@example.com").await;
    let link = pool.ask_link("link@example.com").await;
    assert_eq!(link.status, 200);
    let token = pool.mailed_token(Appliance::shared(), "link@example.com").await;
    pool.try_link(&token).await.is(200);
    pool.service(pool.api.post("/auth/v1/admin/users"))
        .json(&json!({"email": "made@example.com"}))
        .send()
        .await
        .is(200);
    let seen = eventually("the hook ran", Duration::from_secs(15), async || {
        let rows = rows().await["rows"].as_array().expect("rows").clone();
        (rows.len() >= 3).then_some(rows)
    })
    .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(rows().await["rows"].as_array().expect("rows").len(), 3, "once each, and never for the admin's user");
    assert_eq!(seen[0]["body"], json!({"user": made}));
    assert_eq!(seen[0]["trigger"], "signup");
    let emails: Vec<&Value> = seen.iter().map(|row| &row["body"]["user"]["email"]).collect();
    assert_eq!(emails, ["ann@example.com", "bad@example.com", "link@example.com"]);
}
