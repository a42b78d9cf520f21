// Deploys through the SDK: directories, whole releases, events, conflicts, promote, inventories.

import assert from "node:assert/strict";
import { mkdir, mkdtemp, writeFile } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, test } from "node:test";
import { failure, subscriber, wire } from "./harness.mjs";

let r, id, p;

before(async () => {
  ({ r } = await subscriber());
  ({ project_id: id } = await r.projects.provision({ name: "deploys" }));
  p = await r.project(id);
});

async function directory(files) {
  const dir = await mkdtemp(join(tmpdir(), "r402-site-"));
  for (const [path, text] of Object.entries(files)) {
    await mkdir(join(dir, path, ".."), { recursive: true });
    await writeFile(join(dir, path), text);
  }
  return dir;
}

/** What a browser sees: hosts below `localhost` need no resolver. */
function visit(url) {
  const { hostname, port, pathname, host } = new URL(url);
  assert.ok(hostname.endsWith("localhost"), hostname);
  return new Promise((resolve, reject) => {
    request({ host: "127.0.0.1", port, path: pathname, headers: { host } }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      response.on("end", () => resolve({ status: response.statusCode, text: Buffer.concat(chunks).toString() }));
    }).on("error", reject).end();
  });
}

test("a directory is deployed, served, and uploads nothing the second time", async () => {
  const dir = await directory({ "index.html": "<h1>directory</h1>", "css/app.css": "b{}", "copy.css": "b{}", "empty.txt": "" });
  const first = await r.sites.deployDir({ project: id, dir });
  assert.match(first.deployment_id, /^dpl_[a-zA-Z0-9_]+$/);
  assert.ok(first.bytes_uploaded > 0 && first.bytes_total >= first.bytes_uploaded);
  assert.deepEqual(await visit(`${first.url}/`), { status: 200, text: "<h1>directory</h1>" });
  assert.equal((await visit(`${first.url}/css/app.css`)).text, "b{}");

  const before = await p.apply.getActiveRelease();
  const second = await r.sites.deployDir({ project: id, dir });
  assert.equal(second.bytes_uploaded, 0);
  assert.equal(second.deployment_id, first.deployment_id);
  const after = await p.apply.getActiveRelease();
  assert.equal(after.release_id, before.release_id);
  assert.equal(after.release_generation, before.release_generation);
});

test("a thousand files are deployed, and deployed again without an upload", async () => {
  const files = Object.fromEntries(Array.from({ length: 1000 }, (_, n) => [`f/${n}.txt`, `file ${n}`]));
  const dir = await directory({ "index.html": "many", ...files });
  await r.sites.deployDir({ project: id, dir });
  const started = performance.now();
  const again = await r.sites.deployDir({ project: id, dir });
  console.log(`unchanged redeploy of 1,001 files: ${Math.round(performance.now() - started)} ms`);
  assert.equal(again.bytes_uploaded, 0);
});

test("a release with everything goes through apply, and its events tell", async () => {
  const events = [];
  const spec = {
    database: {
      migrations: [{ id: "001", sql: "create table items(id serial primary key, name text); insert into items(name) values ('a')" }],
      expose: { version: "1", tables: [{ name: "items", expose: true, policy: "public_read_authenticated_write" }] },
    },
    site: { replace: { "index.html": "<h1>whole</h1>", "docs.html": "docs" } },
    functions: { replace: { hello: { source: "export default () => new Response('hello')" } } },
    routes: { replace: [{ pattern: "/readme", methods: ["GET", "HEAD"], target: { type: "static", file: "docs.html" } }] },
    i18n: { defaultLocale: "en", locales: ["en", "de"] },
  };
  const options = { allowWarnings: true, idempotencyKey: "whole", onEvent: (event) => events.push(event) };
  const result = await p.apply(spec, options);
  assert.match(result.release_id, /^rel_/);
  assert.match(result.operation_id, /^op_/);
  assert.ok(events.some(({ type }) => type === "plan.diff"));
  const ready = events.at(-1);
  assert.deepEqual([ready.type, ready.releaseId], ["ready", result.release_id]);
  assert.deepEqual(await r.projects.rest(id, "items", { query: "select=name" }), [{ name: "a" }]);
  assert.equal((await visit(`${result.urls.project}/readme`)).text, "docs");

  const live = await p.apply.getActiveRelease();
  assert.equal(live.release_id, result.release_id);
  assert.equal(live.i18n.defaultLocale, "en");
  assert.deepEqual(live.functions.map(({ name }) => name), ["hello"]);
  assert.deepEqual(live.migrations_applied.map(({ migration_id }) => migration_id), ["001"]);
  const byId = await p.apply.getRelease(result.release_id);
  assert.equal(byId.release_id, result.release_id);

  const again = await p.apply(spec, { ...options, idempotencyKey: "whole again" });
  assert.equal(again.release_id, result.release_id);
  const { plan } = await p.apply.plan(spec);
  assert.equal(plan.is_noop, true);
  assert.deepEqual([plan.migrations.new, plan.functions.added, plan.functions.changed, plan.routes.added], [[], [], [], []]);

  const status = await p.apply.status(result.operation_id);
  assert.equal(status.status, "ready");
  const listed = await p.apply.list({ limit: 1 });
  assert.equal(listed.operations.length, 1);
  const recorded = await p.apply.events(result.operation_id);
  assert.equal(recorded.events.at(-1).type, "ready");
  const resumed = await p.apply.resume(result.operation_id);
  assert.equal(resumed.release_id, result.release_id);
});

test("a dry run answers the plan and keeps none", async () => {
  const before = (await p.apply.list({ limit: 100 })).operations.length;
  const { plan } = await p.apply.plan({ site: { patch: { put: { "dry.txt": "dry" } } } }, { dryRun: true });
  assert.equal(plan.plan_id, null);
  assert.equal((await p.apply.list({ limit: 100 })).operations.length, before);
});

test("a patch carries everything else forward, and the diff says what changed", async () => {
  const before = await p.apply.getActiveRelease();
  const result = await p.apply({ site: { patch: { put: { "version.txt": "2" } } } }, { allowWarnings: true });
  const diff = await p.apply.diff({ from: before.release_id, to: result.release_id });
  assert.deepEqual(diff.site.added.map(({ path }) => path), ["version.txt"]);
  assert.deepEqual([diff.routes.changed, diff.functions.changed], [[], []]);
  const resolved = await p.apply.resolve({ url: `${result.urls.project}/version.txt` });
  assert.deepEqual([resolved.authorized, resolved.result], [true, 200]);
});

/** Holds commits of plans back until this many wait, so that their plans have the same base. */
function commitTogether(count) {
  const reached = globalThis.fetch;
  let waiting = [];
  globalThis.fetch = async (input, init) => {
    const asked = new Request(input, init);
    if (waiting && asked.method === "POST" && /\/apply\/v1\/plans\/[^/]+\/commit/.test(asked.url)) {
      await new Promise((go) => {
        waiting.push(go);
        if (waiting.length < count) return;
        const all = waiting;
        waiting = undefined;
        for (const each of all) each();
      });
    }
    return reached(asked);
  };
  return () => (globalThis.fetch = reached);
}

test("two deploys at once both become live, one after a retry", async () => {
  const events = [];
  const onEvent = (event) => events.push(event);
  const before = await p.apply.getActiveRelease();
  const put = (name) => p.apply({ site: { patch: { put: { [`${name}.txt`]: name } } } }, { onEvent, allowWarnings: true });
  const restore = commitTogether(2);
  const made = await Promise.all([put("left"), put("right")]).finally(restore);
  const live = await p.apply.getActiveRelease();
  const paths = live.site.paths.map(({ path }) => path);
  assert.ok(paths.includes("left.txt") && paths.includes("right.txt"));
  const retries = events.filter(({ type }) => type === "deploy.retry");
  assert.deepEqual(retries.map(({ code, attempt }) => [code, attempt]), [["BASE_RELEASE_CONFLICT", 1]]);
  assert.match(retries[0].operationId, /^op_/);
  const other = made.find(({ release_id }) => release_id !== live.release_id);
  assert.equal(live.parent_id, other.release_id, "the chain is linear");
  assert.equal((await p.apply.getRelease(other.release_id)).parent_id, before.release_id);
});

test("a base that is not live is not retried", async () => {
  const { parent_id } = await p.apply.getActiveRelease();
  const events = [];
  const spec = { base: { release_id: parent_id }, site: { patch: { put: { "x.txt": "x" } } } };
  const error = await failure(p.apply(spec, { onEvent: (event) => events.push(event) }));
  assert.equal(error.code, "BASE_RELEASE_CONFLICT");
  assert.ok(!events.some(({ type }) => type === "deploy.retry"));
});

test("a missing secret stops apply before any upload", async () => {
  wire.clear();
  const spec = { secrets: { require: ["NOT_SET"] }, site: { patch: { put: { "never.txt": "never" } } } };
  const error = await failure(p.apply(spec));
  assert.match(`${error.code} ${error.message}`, /MISSING_REQUIRED_SECRET/);
  assert.ok(!wire.exchanges.some(({ path }) => path.startsWith("/content/")));
});

test("a broken migration is a deploy error with its place", async () => {
  const spec = { database: { migrations: [{ id: "broken", sql: "create table fine(id int); selec nonsense" }] } };
  const error = await failure(p.apply(spec, { allowWarnings: true }));
  assert.equal(error.code, "MIGRATION_FAILED");
  assert.equal(error.phase, "migrate");
  assert.equal(error.resource, "database.migrations.broken");
  assert.equal(error.rolledBack, true);
});

test("an earlier release is promoted", async () => {
  const { release_id, parent_id } = await p.apply.getActiveRelease();
  const result = await p.apply.promote(parent_id);
  assert.equal(result.release_id, parent_id);
  assert.equal((await p.apply.getActiveRelease()).release_id, parent_id);
  const error = await failure(p.apply.promote(parent_id));
  assert.equal(error.code, "PROMOTE_NO_OP");
  await p.apply.promote(release_id);
});
