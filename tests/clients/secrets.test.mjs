// `secrets.*` of the SDK: names come back, values never.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { failure, subscriber, wire } from "./harness.mjs";

let r, id;

before(async () => {
  ({ r } = await subscriber());
  ({ project_id: id } = await r.projects.provision({ name: "secrets" }));
});

test("secrets are set, listed, replaced and deleted", async () => {
  assert.deepEqual(await r.secrets.list(id), { secrets: [] });
  await r.secrets.set(id, "API_KEY", "one");
  await r.secrets.set(id, "API_KEY", "two");
  await r.secrets.set(id, "EMPTY", "");
  const { secrets } = await r.secrets.list(id);
  assert.deepEqual(secrets.map(({ key }) => key), ["API_KEY", "EMPTY"]);
  assert.ok(secrets.every((row) => Date.parse(row.created_at) <= Date.parse(row.updated_at)), JSON.stringify(secrets));
  assert.deepEqual(await r.secrets.delete(id, "EMPTY"), { status: "deleted", key: "EMPTY" });
  const error = await failure(r.secrets.delete(id, "EMPTY"));
  assert.deepEqual([error.status, error.code ?? error.body?.code], [404, "SECRET_NOT_FOUND"]);
});

test("the client refuses what the server would", async () => {
  wire.clear();
  assert.match((await failure(r.secrets.set(id, "lower_case", "v"))).message, /A-Z/);
  assert.match((await failure(r.secrets.set(id, "LONG", "é".repeat(2049)))).message, /4096/);
  assert.equal(wire.exchanges.length, 0);
  await r.secrets.set(id, "LONG", "é".repeat(2048));
});

test("an apply stops before any upload while a required secret has no value", async () => {
  wire.clear();
  const spec = { site: { replace: { "index.html": "waits for its secret" } }, secrets: { require: ["NOPE", "API_KEY"] } };
  const error = await failure((await r.project(id)).apply(spec));
  assert.equal(error.code, "MISSING_REQUIRED_SECRET");
  assert.deepEqual(error.body.warnings.find(({ code }) => code === "MISSING_REQUIRED_SECRET").affected, ["NOPE"]);
  assert.ok(!wire.exchanges.some(({ path }) => path.startsWith("/content/")), "nothing was uploaded");
});
