// The parts and reads of `project(id).apply` and of `_applyEngine`: plan, upload, commit, start, resume, inventories,
// diff, resolve, promote.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { failure, subscriber, wire } from "./harness.mjs";

let r, id, p, engine, first, second;
const name = `apply-${Date.now().toString(36)}`;

before(async () => {
  ({ r } = await subscriber());
  ({ project_id: id } = await r.projects.provision({ name: "apply" }));
  p = await r.project(id);
  engine = r._applyEngine;
  await r.secrets.set(id, "API_KEY", "value");
});

const everything = () => ({
  database: {
    migrations: [{ id: "001", sql: "create table notes (id serial primary key, body text not null)" }],
    expose: { version: "1", tables: [{ name: "notes", expose: true, policy: "public_read_authenticated_write" }] },
  },
  secrets: { require: ["API_KEY"] },
  functions: {
    replace: {
      api: {
        source: "export default () => new Response('hello')",
        config: { timeoutSeconds: 5, memoryMb: 128 },
        requireAuth: false,
      },
    },
  },
  site: {
    replace: { "index.html": "<h1>home</h1>", "events.html": "<h1>events</h1>", "css/app.css": "h1 { color: teal }" },
  },
  subdomains: { set: [name] },
  routes: {
    replace: [
      { pattern: "/api/*", target: { type: "function", name: "api" } },
      { pattern: "/whats-on", methods: ["GET", "HEAD"], target: { type: "static", file: "events.html" } },
    ],
  },
  i18n: { defaultLocale: "en", locales: ["en", "de-AT"], detect: ["cookie:lang", "accept-language"] },
});

const text = async (url) => {
  const response = await fetch(url);
  return [response.status, await response.text()];
};

test("a dry run plans every slice and keeps nothing", async () => {
  const { plan } = await p.apply.plan(everything(), { dryRun: true });
  assert.deepEqual([plan.plan_id, plan.operation_id, plan.is_noop ?? false], [null, null, false]);
  assert.deepEqual((await p.apply.list()).operations, []);
});

test("apply makes every slice live", async () => {
  const events = [];
  first = await p.apply(everything(), { onEvent: (event) => events.push(event) });
  assert.match(first.release_id, /^rel_/);
  assert.match(first.operation_id, /^op_/);
  assert.match(first.urls.deployment_id, /^dpl_[a-zA-Z0-9_]+$/);
  assert.ok(Object.values(first.urls).some((url) => url.includes(name)), JSON.stringify(first.urls));
  const types = new Set(events.map(({ type }) => type));
  for (const type of ["plan.started", "plan.diff", "plan.warnings", "content.upload.progress", "commit.phase", "ready"]) {
    assert.ok(types.has(type), `${type} in ${[...types]}`);
  }
  const codes = first.warnings.map(({ code }) => code);
  assert.ok(codes.includes("FIRST_DEPLOY") && codes.includes("PUBLIC_ROUTED_FUNCTION"), codes.join());

  assert.deepEqual(await text(first.urls.project), [200, "<h1>home</h1>"]);
  assert.deepEqual(await text(new URL("/whats-on", first.urls.project)), [200, "<h1>events</h1>"]);
  assert.deepEqual(await text(new URL("/css/app.css", first.urls.release)), [200, "h1 { color: teal }"]);
  assert.deepEqual(await r.projects.rest(id, "notes", {}), []);
});

test("the live release is read by inventory", async () => {
  const live = await p.apply.getActiveRelease();
  assert.deepEqual([live.release_id, live.state_kind, live.release_generation], [first.release_id, "current_live", 1]);
  assert.deepEqual(live.site.paths.map(({ path }) => path), ["css/app.css", "events.html", "index.html"]);
  assert.deepEqual(live.functions.map(({ name, timeout_seconds }) => [name, timeout_seconds]), [["api", 5]]);
  assert.deepEqual(live.secrets.keys, ["API_KEY"]);
  assert.deepEqual(live.subdomains.names, [name]);
  assert.deepEqual(live.routes.entries.map(({ pattern, kind }) => [pattern, kind]), [["/whats-on", "exact"], ["/api/*", "prefix"]]);
  assert.deepEqual(live.migrations_applied.map(({ migration_id }) => migration_id), ["001"]);
  assert.deepEqual(live.i18n, { defaultLocale: "en", locales: ["en", "de-AT"], detect: ["cookie:lang", "accept-language"] });
  const alias = live.static_public_paths.find(({ public_path }) => public_path === "/whats-on");
  assert.deepEqual([alias.asset_path, alias.reachability_authority, alias.direct], ["events.html", "route_static_alias", false]);
  assert.equal((await engine.getRelease({ project: id, releaseId: first.release_id, siteLimit: 1 })).site.paths.length, 1);
});

test("applying the same again is a no-op that uploads nothing", async () => {
  wire.clear();
  const again = await p.apply(everything());
  assert.deepEqual([again.release_id, again.urls], [first.release_id, first.urls]);
  assert.ok(!wire.exchanges.some(({ method }) => method === "PUT"), "nothing was uploaded");
  assert.equal((await p.apply.getActiveRelease()).release_generation, 1);
});

test("resolve explains public URLs", async () => {
  const host = new URL(first.urls.project).hostname;
  const cases = [
    ["/", "GET", "static_index", 200],
    ["/whats-on", "GET", "route_static_alias", 200],
    ["/api/x", "POST", "route_function", 200],
    ["/whats-on", "POST", "route_method_miss", 405],
    ["/nowhere", "GET", "spa_fallback", 200],
    ["/nowhere.css", "GET", "none", 404],
  ];
  for (const [path, method, match, result] of cases) {
    const answer = await engine.resolve({ project: id, host, path, method });
    assert.deepEqual([answer.match, answer.result], [match, result], `${method} ${path} ${JSON.stringify(answer)}`);
  }
  const elsewhere = await engine.resolve({ project: id, url: "https://nobody.example/" });
  assert.deepEqual([elsewhere.match, elsewhere.authorized, elsewhere.result], ["host_missing", false, 404]);
});

test("plan, upload and commit can be called one by one", async () => {
  const spec = { site: { patch: { put: { "index.html": "<h1>new</h1>" }, delete: ["css/app.css"] } } };
  const { plan, byteReaders } = await p.apply.plan(spec, { idempotencyKey: "step-by-step" });
  assert.equal(plan.base_release_id, first.release_id);
  await p.apply.upload(plan, { byteReaders });
  second = await p.apply.commit(plan.plan_id);
  assert.notEqual(second.release_id, first.release_id);
  assert.deepEqual(await text(second.urls.project), [200, "<h1>new</h1>"]);
  assert.deepEqual(await text(first.urls.release), [200, "<h1>home</h1>"], "the old deployment still serves");
  const status = await p.apply.status(second.operation_id);
  assert.deepEqual([status.status, status.release_id], ["ready", second.release_id]);
});

test("diff compares releases", async () => {
  const diff = await engine.diff({ project: id, from: first.release_id, to: "active" });
  assert.deepEqual([diff.from_release_id, diff.to_release_id, diff.is_noop], [first.release_id, second.release_id, false]);
  assert.deepEqual(diff.site.changed.map(({ path }) => path), ["index.html"]);
  assert.deepEqual(diff.site.removed, ["css/app.css"]);
  const whole = await engine.diff({ project: id, from: "empty", to: first.release_id });
  assert.equal(whole.site.added.length, 3);
  const same = await failure(engine.diff({ project: id, from: "active", to: second.release_id }));
  assert.equal(same.body.code, "DIFF_SAME_RELEASE");
});

test("start gives events, and a finished operation is resumed to its outcome", async () => {
  const operation = await p.apply.start({ site: { patch: { put: { "start.html": "started" } } } });
  const seen = [];
  for await (const event of operation.events()) seen.push(event.type);
  const result = await operation.result();
  assert.ok(seen.includes("plan.started") && seen.includes("ready"), seen.join());
  assert.equal((await operation.snapshot()).status, "ready");
  const { events } = await p.apply.events(operation.id);
  assert.ok(events.length > 0);
  const listed = await p.apply.list({ limit: 2 });
  assert.equal(listed.operations[0].operation_id, operation.id);
  const resumed = await p.apply.resume(operation.id).catch((error) => error);
  assert.ok(resumed.release_id === result.release_id || resumed.code === "NOT_RESUMABLE", String(resumed));
});

test("promote goes back, and once only", async () => {
  const back = await p.apply.promote(first.release_id);
  assert.deepEqual([back.status, back.release_id], ["ok", first.release_id]);
  assert.deepEqual(back.diff.migrations, { only_in_current: [], only_in_target: [] });
  assert.deepEqual(await text(first.urls.project), [200, "<h1>home</h1>"]);
  assert.equal((await failure(p.apply.promote(first.release_id))).code, "PROMOTE_NO_OP");
});

test("refusals of the server keep their code and place", async () => {
  const missing = await failure(p.apply({ routes: { replace: [{ pattern: "/x", target: { type: "function", name: "nobody" } }] } }));
  assert.deepEqual([missing.code, missing.resource, missing.phase], ["INVALID_SPEC", "routes", "validate"]);
  const changed = await failure(p.apply({ database: { migrations: [{ id: "001", sql: "select 1" }] } }));
  assert.equal(changed.code, "MIGRATION_CHECKSUM_MISMATCH");
  const broken = await failure(p.apply({ database: { migrations: [{ id: "002", sql: "create table broken (" }] } }));
  assert.deepEqual([broken.code, broken.rolledBack ?? broken.body?.rolled_back], ["MIGRATION_FAILED", true]);
});

test("a spec too large for one request travels as content", async () => {
  const { project_id } = await r.projects.provision({ name: "large" });
  const replace = {};
  for (let index = 0; index < 20_000; index += 1) {
    replace[`${"long-directory-name/".repeat(6)}file-${String(index).padStart(5, "0")}.txt`] = "the same bytes in every file";
  }
  const { apply } = await r.project(project_id);
  assert.equal((await failure(apply.plan({ site: { replace } }, { dryRun: true }))).code, "DRY_RUN_REQUIRES_INLINE_SPEC");
  wire.clear();
  const large = await apply({ site: { replace } });
  assert.match(large.release_id, /^rel_/);
  const plans = wire.exchanges.filter(({ path }) => path === "/content/v1/plans");
  assert.equal(plans.length, 2, "the spec and the one file");
});
