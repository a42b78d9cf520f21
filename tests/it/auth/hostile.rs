//! Tokens that are not what they seem (06 §3.2-3.3).

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use serde_json::{Value, json};

use super::{Pool, part};

fn unsigned(header: &Value, claims: &Value, signature: &str) -> String {
    let encode = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    format!("{}.{}.{signature}", encode(header), encode(claims))
}

#[tokio::test]
async fn no_other_token_passes_for_a_users() {
    let pool = Pool::new().await;
    pool.sign_up("ann@example.com").await;
    let good = pool.log_in("ann@example.com").await;
    let (header, claims) = (part(&good.access, 0), good.claims());
    let kid = header["kid"].as_str().expect("a kid");
    let signature = good.access.rsplit('.').next().expect("a signature");
    let keys = pool.api.get("/internal/v1/project-jwt-keys").bearer(&pool.project.service_key).send().await.is(200);
    let x = keys["keys"][0]["x"].as_str().expect("a coordinate").to_owned();
    let hs256 = |secret: &[u8]| {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::HS256) };
        encode(&header, &claims, &EncodingKey::from_secret(secret)).expect("a token")
    };
    let changed = |name: &str, value: Value| {
        let mut claims = claims.clone();
        claims[name] = value;
        unsigned(&header, &claims, signature)
    };
    let tokens = [
        ("none", unsigned(&json!({"alg": "none", "kid": kid}), &claims, "")),
        ("none with a signature", unsigned(&json!({"alg": "none", "kid": kid}), &claims, signature)),
        ("HS256 under the public x", hs256(x.as_bytes())),
        ("HS256 under the raw x", hs256(&URL_SAFE_NO_PAD.decode(&x).expect("base64url"))),
        ("HS256 under the key document", hs256(keys["keys"][0].to_string().as_bytes())),
        ("another kid", unsigned(&json!({"alg": "ES256", "kid": "uk_unknown0000000000"}), &claims, signature)),
        ("no kid", unsigned(&json!({"alg": "ES256"}), &claims, signature)),
        ("another alg", unsigned(&json!({"alg": "ES384", "kid": kid}), &claims, signature)),
        ("another user", changed("sub", json!("00000000-0000-4000-8000-000000000000"))),
        ("a later end", changed("exp", json!(4_102_444_800_i64))),
        ("an admin", changed("role", json!("project_admin"))),
        ("garbage", "garbage".to_owned()),
        ("empty parts", "..".to_owned()),
        ("a zero signature", format!("{}.{}", good.access.rsplit_once('.').expect("parts").0, "A".repeat(86))),
        ("no signature", format!("{}.", good.access.rsplit_once('.').expect("parts").0)),
        ("the anon key", pool.project.anon_key.clone()),
        ("the service key", pool.project.service_key.clone()),
        ("a refresh token", good.refresh.clone()),
    ];
    for (what, token) in tokens {
        let answer = pool.user(&token).await;
        assert_eq!(answer.status, 401, "{what}: {answer}");
        answer.refused(401, "UNAUTHORIZED");
    }
    pool.user(&good.access).await.is(200);
}

#[tokio::test]
async fn a_token_of_another_project_is_refused() {
    let (mine, other) = (Pool::new().await, Pool::new().await);
    mine.sign_up("ann@example.com").await;
    let tokens = mine.log_in("ann@example.com").await;
    other.user(&tokens.access).await.refused(403, "FORBIDDEN");
    other.try_refresh(&tokens.refresh).await.refused(401, "R402_AUTH_SESSION_INVALID");
    mine.try_refresh(&tokens.refresh).await.is(200);
    let body = json!({"email": "ann@example.com", "password": super::PASSWORD});
    let call = mine.post("/auth/v1/token", &body).bearer(&other.project.anon_key);
    call.send().await.refused(403, "FORBIDDEN");
}

#[tokio::test]
async fn a_stale_bearer_beside_the_anon_key_does_not_stand_in_the_way_of_refreshing() {
    let pool = Pool::new().await;
    pool.sign_up("ann@example.com").await;
    let tokens = pool.log_in("ann@example.com").await;
    let call = pool.post("/auth/v1/token?grant_type=refresh_token", &json!({"refresh_token": tokens.refresh}));
    call.bearer("stale.token.x").send().await.is(200);
}

#[tokio::test]
async fn odd_input_is_a_refusal_and_never_a_fault() {
    let pool = Pool::new().await;
    let logins = [
        json!({"email": "a\u{0}b@example.com", "password": "x"}),
        json!({"email": "", "password": ""}),
        json!({"email": "' or 1=1 --", "password": "' or 1=1 --"}),
        json!({"email": "x".repeat(10_000), "password": "x"}),
        json!({"email": "a@example.com", "password": "\u{0}"}),
        json!({"email": "🦊@example.com", "password": "🦊"}),
    ];
    for body in logins {
        let answer = pool.post("/auth/v1/token", &body).send().await;
        assert_eq!(answer.status, 401, "{answer}");
    }
    for body in
        [json!({"email": "a@example.com", "password": "x".repeat(2000)}), json!({"email": 1, "password": 2}), json!({})]
    {
        pool.post("/auth/v1/token", &body).send().await.refused(400, "BAD_REQUEST");
    }
    for token in ["", "\u{0}", "🦊", &"x".repeat(50_000)] {
        pool.try_refresh(token).await.refused(401, "R402_AUTH_SESSION_INVALID");
        pool.try_link(token).await.refused(401, "R402_AUTH_MAGIC_LINK_INVALID");
    }
}
