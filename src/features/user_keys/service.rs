//! Minting and verifying, rotation, and the snapshot that reading goes to.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
};

use arc_swap::ArcSwap;
use jiff::SignedDuration;
use jsonwebtoken::DecodingKey;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::{
    keys, store,
    types::{Claims, Jwk, Jwks, StoredKey, VerifyingKey},
};
use crate::{
    common::{ApiError, ApiResult, Clock, ProjectId, Timestamp, sealing::MasterKey},
    engines::postgres::{Database, DatabaseError},
};

/// How long a user's token lives unless its claims say otherwise (06 §3.1).
pub const TOKEN_SECONDS: i64 = 3600;
/// How long a retired key stays published: longer than any token it may have signed.
const PUBLISHED_AFTER_RETIREMENT: SignedDuration = SignedDuration::from_hours(2);
/// `iss` of every user token (06 §3.1).
const ISSUER: &str = "agentdb";
const SEAL_PURPOSE: &str = "user signing key";

/// Verified tokens remembered, so that a signature is checked once and not with every request.
const REMEMBERED_TOKENS: usize = 10_000;

/// The service.
pub struct UserKeys {
    database: Database,
    master_key: MasterKey,
    clock: Clock,
    snapshot: ArcSwap<Snapshot>,
    /// By the token's digest: whose key signed it, and what it says. Key, project and times are looked at each time.
    remembered: Mutex<HashMap<[u8; 32], Arc<Claims>>>,
    /// Held from a change to the snapshot that shows it, so that an older reading never follows a newer one.
    changing: tokio::sync::Mutex<()>,
}

/// Every published key.
#[derive(Clone, Default)]
struct Snapshot {
    by_kid: HashMap<String, Arc<Key>>,
    /// The key in use first, then retired ones, the youngest first.
    by_project: HashMap<ProjectId, Vec<Arc<Key>>>,
}

struct Key {
    verifying: VerifyingKey,
    stored: StoredKey,
}

impl Key {
    fn is_published(&self, now: Timestamp) -> bool {
        self.stored.retired_at.is_none_or(|retired| retired > horizon(now))
    }
}

/// Keys retired before then have no living tokens.
fn horizon(now: Timestamp) -> Timestamp {
    now.minus(PUBLISHED_AFTER_RETIREMENT)
}

impl Snapshot {
    /// Replaces what is known of the projects that `keys` are of, and of `gone`.
    fn with(&self, keys: Vec<StoredKey>, gone: Option<&ProjectId>) -> Self {
        let mut next = self.clone();
        let projects: HashSet<ProjectId> = keys.iter().map(|key| &key.project).chain(gone).cloned().collect();
        for project in projects {
            for key in next.by_project.remove(&project).unwrap_or_default() {
                next.by_kid.remove(&key.stored.public.kid);
            }
        }
        for stored in keys {
            // The point was made by us; one that does not decode is a damaged row, whose tokens must not verify.
            let Ok(key) = DecodingKey::from_ec_components(&stored.public.x, &stored.public.y) else {
                tracing::error!(kid = stored.public.kid, "a stored user key is damaged");
                continue;
            };
            let verifying = VerifyingKey { key: Arc::new(key), project: stored.project.clone() };
            let key = Arc::new(Key { verifying, stored });
            next.by_kid.insert(key.stored.public.kid.clone(), Arc::clone(&key));
            next.by_project.entry(key.stored.project.clone()).or_default().push(key);
        }
        next
    }
}

impl UserKeys {
    /// Reads every published key.
    ///
    /// # Errors
    /// The control database does not answer.
    pub async fn start(database: Database, master_key: MasterKey, clock: Clock) -> Result<Self, DatabaseError> {
        let keys = store::load(&database.get().await?, None, horizon(clock.now())).await?;
        let snapshot = ArcSwap::from_pointee(Snapshot::default().with(keys, None));
        let (remembered, changing) = (Mutex::default(), tokio::sync::Mutex::default());
        Ok(Self { database, master_key, clock, snapshot, remembered, changing })
    }

    /// The published key of this id.
    pub fn find(&self, kid: &str) -> Option<VerifyingKey> {
        let snapshot = self.snapshot.load();
        let key = snapshot.by_kid.get(kid)?;
        key.is_published(self.clock.now()).then(|| key.verifying.clone())
    }

    /// Signs a token for a user of a live project. `project_id` and `iss` are set here; `iat` is now and `exp`
    /// [`TOKEN_SECONDS`] later unless `claims` have them. A token should not live longer than an hour: keys are
    /// published for two after their retirement.
    ///
    /// # Errors
    /// 401 `UNAUTHORIZED` when the project is gone; those of the control database.
    pub async fn mint(&self, project: &ProjectId, mut claims: Map<String, Value>) -> ApiResult<String> {
        let key = self.in_use(project).await?;
        let now = self.clock.now().as_seconds();
        claims.insert("project_id".into(), project.as_str().into());
        claims.insert("iss".into(), ISSUER.into());
        let issued = claims.entry("iat").or_insert_with(|| now.into()).as_i64().unwrap_or(now);
        claims.entry("exp").or_insert_with(|| (issued + TOKEN_SECONDS).into());
        let private = self.master_key.open(SEAL_PURPOSE, &key.stored.private).map_err(ApiError::internal)?;
        keys::sign(&key.stored.public.kid, &private, &claims).map_err(ApiError::internal)
    }

    /// What a token proves for this project; None when it is not signed with a published key of the project, has
    /// expired, is not valid yet, or is of another project. Whether user and session still exist is not looked at.
    pub fn verify(&self, token: &str, project: &ProjectId) -> Option<Claims> {
        let key = self.find(&keys::kid_of(token)?).filter(|key| key.project == *project)?;
        let claims = self.signed(token, &key.key)?;
        let not_before = claims.others.get("nbf").and_then(Value::as_f64);
        let now = self.clock.now().as_seconds();
        let is_current = claims.exp > now && not_before.is_none_or(|moment| moment <= now as f64);
        (is_current && claims.project_id == *project).then(|| Claims::clone(&claims))
    }

    /// The claims of a token that this key signed. The token names the key, so one digest stands for both.
    fn signed(&self, token: &str, key: &DecodingKey) -> Option<Arc<Claims>> {
        let digest: [u8; 32] = Sha256::digest(token.as_bytes()).into();
        let lock = || self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(claims) = lock().get(&digest) {
            return Some(Arc::clone(claims));
        }
        let claims = Arc::new(serde_json::from_value(Value::Object(keys::signed_claims(token, key)?)).ok()?);
        let mut remembered = lock();
        if remembered.len() >= REMEMBERED_TOKENS {
            let now = self.clock.now().as_seconds();
            remembered.retain(|_, claims: &mut Arc<Claims>| claims.exp > now);
            if remembered.len() >= REMEMBERED_TOKENS {
                remembered.clear();
            }
        }
        remembered.insert(digest, Arc::clone(&claims));
        Some(claims)
    }

    /// The published keys of a project, never empty (06 §9.2).
    ///
    /// # Errors
    /// As [`UserKeys::mint`].
    pub async fn jwks(&self, project: &ProjectId) -> ApiResult<Jwks> {
        self.in_use(project).await?;
        Ok(Jwks { keys: self.published(project) })
    }

    /// The published keys of all projects.
    pub fn all_jwks(&self) -> Jwks {
        let now = self.clock.now();
        let snapshot = self.snapshot.load();
        let keys = snapshot.by_project.values().flatten();
        Jwks { keys: keys.filter(|key| key.is_published(now)).map(|key| key.stored.public.clone()).collect() }
    }

    /// Signs with a new key from now on. Tokens of the old one stay good until they expire.
    ///
    /// # Errors
    /// As [`UserKeys::mint`].
    pub async fn rotate(&self, project: &ProjectId) -> ApiResult<()> {
        self.add(project, true).await?;
        Ok(())
    }

    /// Removes keys that nothing living was signed with.
    ///
    /// # Errors
    /// The control database does not answer.
    pub async fn sweep(&self) -> Result<(), DatabaseError> {
        let _alone = self.changing.lock().await;
        let connection = self.database.get().await?;
        store::sweep(&connection, horizon(self.clock.now())).await?;
        let keys = store::load(&connection, None, horizon(self.clock.now())).await?;
        self.snapshot.store(Arc::new(Snapshot::default().with(keys, None)));
        Ok(())
    }

    /// Id of the key the project signs with, if it has one yet; another one after each rotation. From memory.
    pub fn signing_kid(&self, project: &ProjectId) -> Option<String> {
        self.signing(project).map(|key| key.stored.public.kid.clone())
    }

    fn published(&self, project: &ProjectId) -> Vec<Jwk> {
        let now = self.clock.now();
        let snapshot = self.snapshot.load();
        let keys = snapshot.by_project.get(project).into_iter().flatten();
        keys.filter(|key| key.is_published(now)).map(|key| key.stored.public.clone()).collect()
    }

    /// The key a project signs with, made if it has none.
    async fn in_use(&self, project: &ProjectId) -> ApiResult<Arc<Key>> {
        if let Some(key) = self.signing(project) {
            return Ok(key);
        }
        self.add(project, false).await?;
        self.signing(project).ok_or_else(|| ApiError::unauthorized("This project was deleted."))
    }

    fn signing(&self, project: &ProjectId) -> Option<Arc<Key>> {
        let snapshot = self.snapshot.load();
        let newest = snapshot.by_project.get(project)?.first()?;
        newest.stored.retired_at.is_none().then(|| Arc::clone(newest))
    }

    /// Does nothing when another request made the first key meanwhile.
    async fn add(&self, project: &ProjectId, retire: bool) -> ApiResult<()> {
        let _alone = self.changing.lock().await;
        if !retire && self.signing(project).is_some() {
            return Ok(());
        }
        let now = self.clock.now();
        let (public, private) = keys::generate().map_err(ApiError::internal)?;
        let private = self.master_key.seal(SEAL_PURPOSE, &private);
        let key = StoredKey { project: project.clone(), public, private, created_at: now, retired_at: None };
        let mut connection = self.database.get().await?;
        let tx = connection.transaction().await?;
        if retire {
            store::retire(&tx, project, now).await?;
        }
        store::add(&tx, &key).await?;
        tx.commit().await?;
        let keys = store::load(&connection, Some(project), horizon(now)).await?;
        self.snapshot.store(Arc::new(self.snapshot.load().with(keys, Some(project))));
        Ok(())
    }
}
