// The isomorphic entry and the functions runtime's helpers, which carry only keys.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { Run402 } from "@run402/sdk";
import { API, failure, subscriber } from "./harness.mjs";

let project;

before(async () => {
  const { r } = await subscriber();
  project = await r.projects.provision({ name: "keys" });
});

/** What a browser or a sandbox has: the keys of one project and no wallet. */
const keysOnly = () =>
  new Run402({
    apiBase: API,
    fetch: (...request) => globalThis.fetch(...request),
    credentials: {
      getAuth: async () => null,
      getProject: async (id) => (id === project.project_id ? project : null),
    },
  });

test("keys alone run SQL and read schema and usage", async () => {
  const r = keysOnly();
  const { rows } = await r.projects.sql(project.project_id, "select 1 as one");
  assert.deepEqual(rows, [{ one: 1 }]);
  assert.deepEqual((await r.projects.getSchema(project.project_id)).tables, []);
  assert.equal((await r.projects.getUsage(project.project_id)).project_id, project.project_id);
});

test("keys alone are not a wallet", async () => {
  const error = await failure(keysOnly().projects.list());
  assert.deepEqual([error.kind, error.code], ["unauthorized", "AUTHENTICATION_REQUIRED"]);
});

test("open routes need nothing", async () => {
  const r = keysOnly();
  assert.equal((await r.service.health()).status, "healthy");
  assert.equal((await r.projects.getQuote()).tiers.team.price, "$20.00");
});

test("adminDb().sql() of the functions package gets the envelope", async () => {
  process.env.RUN402_PROJECT_ID = project.project_id;
  process.env.RUN402_SERVICE_KEY = project.service_key;
  process.env.RUN402_ANON_KEY = project.anon_key;
  const { adminDb } = await import("@run402/functions");
  const result = await adminDb().sql("select $1::int as n", [1]);
  assert.equal(result.rows[0].n, 1);
  const error = await failure(adminDb().sql("select boom"));
  assert.equal(error.code, "R402_DB_SQL_ERROR");
  assert.equal(error.message, "SQL error (400): SQL_ERROR");
  assert.match(error.trace_id, /^trc_/);
});
