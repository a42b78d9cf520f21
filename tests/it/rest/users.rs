//! Signed-in users at the public door (contract 02 checks 7, 8, 11, 22 and 23 in their parts for users).

use super::*;
use crate::support::Users;

const U1: &str = "00000000-0000-4000-8000-000000000001";
const U2: &str = "00000000-0000-4000-8000-000000000002";

/// Refusals in either dialect: status and code are the same members in both.
trait Refusal {
    fn natively(self, status: u16, code: &str);
}

impl Refusal for Answer {
    fn natively(self, status: u16, code: &str) {
        let body: Value = serde_json::from_slice(&self.body).unwrap_or_default();
        assert_eq!((self.status.as_u16(), body["code"].as_str()), (status, Some(code)), "{self}");
    }
}

/// A box of its own: it must start once more after the tests' key was published.
struct Box {
    _appliance: Appliance,
    api: Api,
    project: Project,
    users: Users,
}

impl Box {
    async fn new() -> Self {
        let mut appliance = Appliance::plan().boot();
        let project = appliance.api().provision().await;
        let users = Users::of(&project.id);
        users.publish(&appliance).await;
        appliance.stop();
        appliance.start_again();
        let api = appliance.api();
        Self { project: project.through(&api), api, users, _appliance: appliance }
    }

    fn call(&self, method: Method, path: &str, token: Option<&str>) -> crate::support::Call {
        let call = self.api.call(method, &format!("/rest/v1{path}")).api_key(&self.project.anon_key);
        match token {
            Some(token) => call.bearer(token),
            None => call,
        }
    }

    async fn get(&self, path: &str, token: Option<&str>) -> Answer {
        self.call(Method::GET, path, token).send().await
    }

    async fn post(&self, path: &str, token: Option<&str>, body: Value) -> Answer {
        self.call(Method::POST, path, token).header("prefer", ROWS).json(&body).send().await
    }

    async fn expose(&self, manifest: Value) -> Value {
        let path = self.project.path("expose");
        self.api.post(&path).bearer(&self.project.service_key).json(&manifest).send().await.is(200)
    }
}

#[tokio::test]
async fn users_see_what_the_manifest_gives_them() {
    let on = Box::new().await;
    let (u1, u2) = (on.users.token(U1), on.users.token(U2));
    let (one, two) = (Some(u1.as_str()), Some(u2.as_str()));
    on.project.sql("create table t(id serial primary key, n int, owner uuid)").await.is(200);

    // Check 7: dark by default.
    on.get("/t", None).await.natively(401, "42501");
    on.get("/t", one).await.natively(403, "42501");
    on.get("/none", one).await.natively(404, "PGRST205");

    // Check 8: owners.
    let owned = json!({"version": "1", "tables": [{"name": "t", "expose": true, "policy": "user_owns_rows",
                       "owner_column": "owner", "force_owner_on_insert": true}]});
    assert_eq!(on.expose(owned.clone()).await["applied"]["tables"], json!(["t"]));
    let policies = "select string_agg(oid::text, ',' order by oid) from pg_policy";
    let before = on.project.value(policies).await;
    assert_eq!(on.expose(owned).await["applied"]["tables"], json!(["t"]));
    assert_eq!(on.project.value(policies).await, before, "nothing was made anew");
    assert_eq!(on.post("/t", one, json!({"n": 5})).await.is(201), json!([{"id": 1, "n": 5, "owner": U1}]));
    assert_eq!(on.get("/t", two).await.is(200), json!([]));
    assert_eq!(on.get("/t?select=n", one).await.is(200), json!([{"n": 5}]));
    on.post("/t", one, json!({"n": 6, "owner": U2})).await.natively(403, "42501");
    on.get("/t", None).await.natively(401, "42501");
    on.post("/t", None, json!({"n": 7})).await.natively(401, "42501");
    // Another's rows are out of reach of every write.
    for method in [Method::PATCH, Method::DELETE] {
        let answer = on.call(method, "/t?id=eq.1", two).header("prefer", ROWS).json(&json!({"n": 0})).send().await;
        assert_eq!(answer.is(200), json!([]));
    }
    // A promoted user is a user (and not the service role).
    let admin = on.users.token_with(U2, &json!({"role": "project_admin"}));
    assert_eq!(on.post("/t", Some(&admin), json!({"n": 8})).await.is(201)[0]["owner"], U2);
    assert_eq!(on.get("/t?select=n", Some(&admin)).await.is(200), json!([{"n": 8}]));

    // Check 9: an empty manifest closes it again.
    assert_eq!(on.expose(json!({"version": "1"})).await["dropped"]["tables"], json!(["t"]));
    on.get("/t", one).await.natively(403, "42501");

    // Check 11: the public reads, users write.
    on.project.sql("create table items(id serial primary key, name text)").await.is(200);
    on.expose(json!({"version": "1", "tables": [{"name": "items", "expose": true, "policy": "public_read_authenticated_write"}]}))
        .await;
    on.post("/items", one, json!({"name": "a"})).await.is(201);
    assert_eq!(on.get("/items", None).await.is(200), json!([{"id": 1, "name": "a"}]));
    on.post("/items", None, json!({"name": "b"})).await.natively(401, "42501");

    // rpcs[]: each role its own functions.
    on.project
        .sql(
            "create function who() returns text language sql stable as $$ select auth.role() || ' ' || coalesce(auth.uid()::text, 'nobody') $$;
             create function members() returns int language sql stable as 'select 1'",
        )
        .await
        .is(200);
    on.expose(json!({"version": "1", "rpcs": [
        {"name": "who", "signature": "()", "grant_to": ["anon", "authenticated"]},
        {"name": "members", "signature": "()", "grant_to": ["authenticated"]},
    ]}))
    .await;
    assert_eq!(on.get("/rpc/who", None).await.is(200), "anon nobody");
    assert_eq!(on.get("/rpc/who", one).await.is(200), format!("authenticated {U1}"));
    assert_eq!(on.get("/rpc/who", Some(&admin)).await.is(200), format!("project_admin {U2}"));
    on.get("/rpc/members", None).await.refused(403, "FORBIDDEN_FUNCTION");
    assert_eq!(on.get("/rpc/members", one).await.is(200), 1);
}

#[tokio::test]
async fn sql_knows_who_asks_and_tokens_end() {
    let on = Box::new().await;
    on.project
        .sql(
            "create function facts() returns json language sql stable as
               $$ select json_build_array(auth.role(), auth.uid(), auth.project_id(), run402.current_user_id(),
                                          run402.current_session_id(), run402.current_authz_version()) $$;
             create table texts(id serial primary key, owner_text text);
             insert into texts(owner_text) values ('00000000-0000-4000-8000-000000000001'), ('x')",
        )
        .await
        .is(200);
    on.expose(json!({"version": "1",
        "tables": [{"name": "texts", "expose": true, "policy": "custom",
                    "custom_sql": "create policy own on texts for select using (owner_text = auth.uid())"}],
        "rpcs": [{"name": "facts", "signature": "()", "grant_to": ["anon", "authenticated"]}]}))
        .await;
    let project = &on.project.id;
    let user = on.users.token(U1);
    // Check 23.
    assert_eq!(on.get("/rpc/facts", None).await.is(200), json!(["anon", null, project, null, null, null]));
    let session = "00000000-0000-4000-8000-00000000a001";
    assert_eq!(on.get("/rpc/facts", Some(&user)).await.is(200), json!(["authenticated", U1, project, U1, session, 1]));
    assert_eq!(on.get("/texts?select=id", Some(&user)).await.is(200), json!([{"id": 1}]));
    assert_eq!(on.get("/texts?select=id", None).await.is(200), json!([]));

    // Check 22, and every token that proves less than it says.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("after 1970").as_secs();
    let other = on.api.provision().await;
    for (changes, status, code) in [
        (json!({"exp": now - 1}), 401, "PGRST303"),
        (json!({"nbf": now + 60}), 401, "PGRST303"),
        (json!({"role": "service_role"}), 401, "UNAUTHORIZED"),
        (json!({"role": "anon"}), 401, "UNAUTHORIZED"),
        (json!({"role": "postgres"}), 401, "UNAUTHORIZED"),
        (json!({"project_id": other.id}), 401, "UNAUTHORIZED"),
    ] {
        on.get("/texts", Some(&on.users.token_with(U1, &changes))).await.natively(status, code);
    }
    // Of another project, beside this project's key.
    on.get("/texts", Some(&Users::of(&other.id).token(U1))).await.natively(401, "PGRST301");
    // A user has no business at the door of the service key.
    let admin = on.api.get("/admin/v1/rest/texts").bearer(&user).send().await;
    admin.refused(403, "ADMIN_REQUIRED");
    // Tokens are good until they expire, also after a restart; keys that are gone end theirs at once.
    assert_eq!(on.get("/texts?select=id", Some(&user)).await.is(200), json!([{"id": 1}]));
}
