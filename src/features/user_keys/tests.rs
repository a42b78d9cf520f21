use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jiff::SignedDuration;
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Map, Value, json};

use super::{keys, *};
use crate::{
    common::{Clock, ProjectId, Timestamp, sealing::MasterKey},
    engines::postgres::{
        Cluster, Database, Login,
        test_support::{TestBox, as_ordinary_user},
    },
};

const NOW: i64 = 1_800_000_000;

/// As much of the control database as the feature touches.
const PROJECTS: &str = "
    create table projects (id text primary key, status text not null default 'active');
    insert into projects values ('prj_1_a'), ('prj_2_b');";

fn project(id: &str) -> ProjectId {
    id.parse().unwrap()
}

fn claims(more: Value) -> Map<String, Value> {
    let mut claims = json!({"sub": "6f1b0c52-8a5f-4a4e-9c55-0c1d2e3f4a5b", "role": "authenticated", "email": "a@b.c"});
    for (name, value) in more.as_object().unwrap() {
        claims[name] = value.clone();
    }
    claims.as_object().unwrap().clone()
}

struct Bench {
    _directory: TestBox,
    cluster: Cluster,
    database: Database,
    master: MasterKey,
    clock: Clock,
}

impl Bench {
    async fn new() -> Self {
        let directory = TestBox::new();
        let cluster = directory.start().await;
        let database = cluster.database(Login::new("postgres", "postgres"));
        let connection = database.get().await.unwrap();
        connection.batch_execute(PROJECTS).await.unwrap();
        connection.batch_execute(include_str!("../../../migrations/control/V10__user_keys.sql")).await.unwrap();
        drop(connection);
        let clock = Clock::fixed(Timestamp::from_millis(NOW * 1000).unwrap());
        Self { _directory: directory, cluster, database, master: MasterKey::from_bytes([7; 32]), clock }
    }

    async fn start(&self) -> UserKeys {
        UserKeys::start(self.database.clone(), self.master.clone(), self.clock.clone()).await.unwrap()
    }
}

#[test]
fn a_key_signs_for_its_public_half_and_no_other() {
    let (public, private) = keys::generate().unwrap();
    let (other, _) = keys::generate().unwrap();
    assert_ne!(public.kid, other.kid);
    assert_eq!((public.x.len(), public.y.len()), (43, 43));
    let token = keys::sign(&public.kid, &private, &claims(json!({}))).unwrap();
    assert_eq!(keys::kid_of(&token), Some(public.kid.clone()));
    let decoding = |jwk: &Jwk| jsonwebtoken::DecodingKey::from_ec_components(&jwk.x, &jwk.y).unwrap();
    assert_eq!(signed_claims(&token, &decoding(&public)), Some(claims(json!({}))));
    assert_eq!(signed_claims(&token, &decoding(&other)), None);
    let hs256 = jsonwebtoken::encode(
        &Header { kid: Some(public.kid.clone()), ..Header::new(Algorithm::HS256) },
        &claims(json!({})),
        &EncodingKey::from_secret(public.x.as_bytes()),
    );
    assert_eq!(signed_claims(&hs256.unwrap(), &decoding(&public)), None);
    assert_eq!(keys::kid_of("a.b.c"), None);
}

#[test]
fn tokens_are_minted_verified_rotated_and_survive_a_restart() {
    as_ordinary_user(|| async {
        let bench = Bench::new().await;
        let keys = bench.start().await;
        let (a, b) = (project("prj_1_a"), project("prj_2_b"));

        let (first, again) = tokio::join!(keys.mint(&a, claims(json!({}))), keys.mint(&a, claims(json!({}))));
        let (first, again) = (first.unwrap(), again.unwrap());
        assert_eq!(keys::kid_of(&first), keys::kid_of(&again), "two first tokens, one key");
        let proved = keys.verify(&first, &a).unwrap();
        assert_eq!((proved.iat, proved.exp), (NOW, NOW + 3600));
        assert_eq!((proved.role.as_str(), proved.email.as_str()), ("authenticated", "a@b.c"));
        assert_eq!(proved.others["iss"], "agentdb");
        assert_eq!(keys.verify(&first, &b), None, "of another project");
        keys.mint(&b, claims(json!({}))).await.unwrap();
        assert_eq!(keys.verify(&first, &b), None, "of another project that has keys");
        for (token, why) in [
            (keys.mint(&a, claims(json!({"exp": NOW}))).await.unwrap(), "expired"),
            (keys.mint(&a, claims(json!({"nbf": NOW + 1}))).await.unwrap(), "not yet valid"),
            (keys.mint(&a, claims(json!({"sub": null}))).await.unwrap(), "without a user"),
            (format!("{first}x"), "with another signature"),
            ("a.b.c".to_owned(), "no token"),
        ] {
            assert_eq!(keys.verify(&token, &a), None, "{why}");
        }

        keys.rotate(&a).await.unwrap();
        let second = keys.mint(&a, claims(json!({"exp": NOW + 30_000}))).await.unwrap();
        assert_ne!(keys::kid_of(&first), keys::kid_of(&second));
        assert!(keys.verify(&first, &a).is_some(), "tokens outlive the key that signed them");
        let published: Vec<String> = keys.jwks(&a).await.unwrap().keys.into_iter().map(|key| key.kid).collect();
        assert_eq!(published, [keys::kid_of(&second).unwrap(), keys::kid_of(&first).unwrap()]);

        let restarted = bench.start().await;
        assert!(restarted.verify(&first, &a).is_some() && restarted.verify(&second, &a).is_some());
        assert_eq!(restarted.all_jwks().keys.len(), 3);
        let stored = bench.database.get().await.unwrap();
        let plain: bool = stored
            .query_one("select bool_or(encode(private_key, 'hex') like '%2a8648ce3d0301%') from user_keys", &[])
            .await
            .unwrap()
            .get(0);
        assert!(!plain, "private keys are sealed: no curve id in sight");

        let before = keys.signing_kid(&a);
        assert_eq!(before, keys::kid_of(&second), "instances of functions are told apart by it");
        assert_eq!(keys.signing_kid(&project("prj_9_z")), None);

        bench.clock.advance(SignedDuration::from_hours(2));
        assert_eq!(keys.verify(&first, &a), None, "remembered, and expired all the same");
        assert_eq!(keys.find(&keys::kid_of(&first).unwrap()).map(|key| key.project), None);
        assert!(keys.verify(&second, &a).is_some());
        keys.sweep().await.unwrap();
        assert_eq!(keys.all_jwks().keys.len(), 2);
        let rows: i64 = stored.query_one("select count(*) from user_keys", &[]).await.unwrap().get(0);
        assert_eq!(rows, 2);

        stored.batch_execute("update projects set status = 'purged' where id = 'prj_1_a'").await.unwrap();
        keys.sweep().await.unwrap();
        assert_eq!(keys.verify(&second, &a), None);
        assert_eq!(keys.mint(&a, claims(json!({}))).await.unwrap_err().status(), 401);
        assert!(keys.mint(&project("prj_9_z"), claims(json!({}))).await.is_err());
        drop(stored);
        bench.cluster.stop().await;
    });
}

#[test]
fn a_remembered_token_lends_its_name_to_no_other() {
    as_ordinary_user(|| async {
        let bench = Bench::new().await;
        let keys = bench.start().await;
        let (a, b) = (project("prj_1_a"), project("prj_2_b"));
        let good = keys.mint(&a, claims(json!({}))).await.unwrap();
        keys.mint(&b, claims(json!({}))).await.unwrap();
        for _ in 0..2 {
            assert!(keys.verify(&good, &a).is_some());
            assert_eq!(keys.verify(&good, &b), None, "remembered, and of another project");
        }
        let (kid, kid_of_b) = (keys.signing_kid(&a).unwrap(), keys.signing_kid(&b).unwrap());
        let public = keys.jwks(&a).await.unwrap().keys.remove(0);
        let (_, body) = good.split_once('.').unwrap();
        let (said, signature) = body.split_once('.').unwrap();
        let header = |alg: &str, kid: &str| URL_SAFE_NO_PAD.encode(json!({"alg": alg, "kid": kid}).to_string());
        let hs256 = Header { kid: Some(kid.clone()), ..Header::new(Algorithm::HS256) };
        let said_by_a = keys.verify(&good, &a).unwrap();
        let with_public_key =
            jsonwebtoken::encode(&hs256, &said_by_a, &EncodingKey::from_secret(public.x.as_bytes())).unwrap();
        for (token, why) in [
            (format!("{}.{body}", header("none", &kid)), "another algorithm over the same words"),
            (format!("{}.{said}.", header("none", &kid)), "no signature"),
            (format!("{}.{body}", header("ES256", &kid_of_b)), "another key's name"),
            (format!("{}.{said}.{}", header("ES256", &kid), "A".repeat(signature.len())), "another signature"),
            (with_public_key, "the public key as a secret"),
        ] {
            assert_eq!((keys.verify(&token, &a), keys.verify(&token, &b)), (None, None), "{why}");
        }
        // A key that is published no more ends its tokens, remembered or not.
        let long = keys.mint(&a, claims(json!({"exp": NOW + 30_000}))).await.unwrap();
        assert!(keys.verify(&long, &a).is_some());
        keys.rotate(&a).await.unwrap();
        assert!(keys.verify(&long, &a).is_some());
        bench.clock.advance(SignedDuration::from_hours(2));
        assert_eq!(keys.verify(&long, &a), None);
        bench.cluster.stop().await;
    });
}
