// The data API through the SDK's `projects.rest` and the functions package's `db()` and `adminDb()`.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { API, failure, subscriber, wire } from "./harness.mjs";

let r, id, project, db, adminDb;

before(async () => {
  ({ r } = await subscriber());
  project = await r.projects.provision({ name: "rest" });
  id = project.project_id;
  await r.projects.sql(id, `
    create table notes(id serial primary key, body text not null, kind text, n int);
    create function add(a int, b int) returns int language sql stable as 'select a + b';
    insert into notes(body, kind, n) values ('one', 'a', 1), ('two', 'a', 2), ('three', 'b', 3)`);
  process.env.RUN402_API_BASE = API;
  process.env.RUN402_PROJECT_ID = id;
  process.env.RUN402_SERVICE_KEY = project.service_key;
  process.env.RUN402_ANON_KEY = project.anon_key;
  ({ db, adminDb } = await import("@run402/functions"));
});

const service = (table, options = {}) => r.projects.rest(id, table, { keyType: "service", ...options });

test("the SDK reads, writes, changes and removes rows", async () => {
  assert.deepEqual(await service("notes", { query: "select=id,body&order=id&limit=1" }), [{ id: 1, body: "one" }]);
  assert.deepEqual(await service("notes", { query: { select: "id", kind: "eq.a", order: "id.desc" } }), [{ id: 2 }, { id: 1 }]);
  const [made] = await service("notes", { method: "POST", body: { body: "four", kind: "c" } });
  assert.deepEqual([made.body, made.kind, made.n], ["four", "c", null]);
  assert.equal((await service("notes", { method: "POST", body: [{ body: "five" }, { body: "six" }] })).length, 2);
  assert.deepEqual((await service("notes", { method: "PATCH", query: `id=eq.${made.id}`, body: { n: 4 } })).map(({ n }) => n), [4]);
  assert.equal((await service("notes", { method: "DELETE", query: "id=gt.3" })).length, 3);
  assert.deepEqual(await service("notes", { method: "DELETE", query: "id=gt.3" }), []);
});

test("the SDK keeps the status and escapes its table argument", async () => {
  const answer = await r.projects.restResponse(id, "notes", { keyType: "service", method: "POST", body: { body: "seven" } });
  assert.equal(answer.status, 201);
  await service("notes", { method: "DELETE", query: "body=eq.seven" });
  wire.clear();
  assert.equal(await service("rpc/add", { query: "a=1&b=2" }), 3);
  assert.match(wire.exchanges[0].path, /rpc%2Fadd/);
  assert.equal(await service("rpc/add", { method: "POST", body: { a: 2, b: 3 } }), 5);
});

test("the SDK turns refusals into its own errors", async () => {
  const dark = await failure(r.projects.rest(id, "notes"));
  assert.deepEqual([dark.kind, dark.status, dark.code], ["unauthorized", 401, "42501"]);
  const call = await failure(r.projects.rest(id, "rpc/add", { method: "POST", body: { a: 1, b: 2 } }));
  assert.deepEqual([call.kind, call.status, call.code], ["unauthorized", 403, "FORBIDDEN_FUNCTION"]);
  for (const [table, options, status, code] of [
    ["nope", {}, 404, "PGRST205"],
    ["notes", { query: "nope=eq.1" }, 400, "42703"],
    ["notes", { query: "id=foo.1" }, 400, "PGRST100"],
    ["notes", { method: "POST", body: { nope: 1 } }, 400, "PGRST204"],
    ["notes", { method: "POST", body: { kind: "x" } }, 400, "23502"],
    ["notes", { method: "POST", body: { id: 1, body: "x" } }, 409, "23505"],
  ]) {
    const error = await failure(service(table, options));
    assert.deepEqual([error.kind, error.status, error.code], ["api_error", status, code], error.message);
  }
});

test("adminDb() chains filters, orders and pages", async () => {
  const admin = () => adminDb().from("notes");
  const numbers = async (query) => (await query).map(({ n }) => n);
  assert.deepEqual(await numbers(admin().select("n").eq("kind", "a").order("n", { ascending: false })), [2, 1]);
  assert.deepEqual(await numbers(admin().select("n").order("kind", { ascending: false }).order("n", { ascending: false })), [3, 2, 1]);
  assert.deepEqual(await numbers(admin().select().neq("n", 1).order("n")), [2, 3]);
  assert.deepEqual(await numbers(admin().select("n").gt("n", 1).lt("n", 3)), [2]);
  assert.deepEqual(await numbers(admin().select("n").gte("n", 2).lte("n", 3).order("n")), [2, 3]);
  assert.deepEqual(await numbers(admin().select("n").like("body", "t%").order("n")), [2, 3]);
  assert.deepEqual(await numbers(admin().select("n").ilike("body", "%ONE%")), [1]);
  assert.deepEqual(await numbers(admin().select("n").in("n", [1, 3]).order("n")), [1, 3]);
  assert.deepEqual(await numbers(admin().select("n").order("n").limit(1).offset(1)), [2]);
  assert.equal((await admin().select("n").eq("n", 1).single()).n, 1);
  assert.equal(await admin().select("n").eq("n", 99).maybeSingle(), null);
});

test("adminDb() writes resolve to arrays", async () => {
  const made = await adminDb().from("notes").insert({ body: "new", n: 10 });
  assert.deepEqual(made.map(({ body, n }) => [body, n]), [["new", 10]]);
  const several = await adminDb().from("notes").insert([{ body: "x", n: 11 }, { body: "y", n: 12 }]).select("n");
  assert.deepEqual(several, [{ n: 11 }, { n: 12 }]);
  const changed = await adminDb().from("notes").update({ kind: "z" }).gte("n", 10).select("kind");
  assert.deepEqual(changed, [{ kind: "z" }, { kind: "z" }, { kind: "z" }]);
  assert.deepEqual(await adminDb().from("notes").update({ kind: "z" }).eq("n", 99), []);
  assert.equal((await adminDb().from("notes").delete().eq("kind", "z")).length, 3);
  assert.deepEqual(await adminDb().from("notes").delete().eq("kind", "z"), []);
});

test("adminDb() reads a table made a moment ago", async () => {
  await adminDb().sql("create table fresh(id int primary key)");
  wire.clear();
  assert.deepEqual(await adminDb().from("fresh").insert({ id: 1 }), [{ id: 1 }]);
  assert.deepEqual(wire.exchanges.map(({ status }) => status), [201], "it had to try again");
});

test("db() without a visitor is the anon key, and the table is dark", async () => {
  const visitor = new Request("https://example.com/");
  const error = await failure(db(visitor).from("notes").select());
  assert.equal(error.message, "PostgREST error (401): 42501");
  assert.deepEqual([error.code, error.status, error.remote_code], ["R402_DB_QUERY_ERROR", 401, "42501"]);
  assert.equal((await failure(db(visitor).from("notes").insert({ body: "x" }))).status, 401);
  const forged = new Request("https://example.com/", { headers: { authorization: "Bearer a.b.c" } });
  assert.equal((await failure(db(forged).from("notes").select())).message, "PostgREST error (401): PGRST301");
});
