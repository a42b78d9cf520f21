// Functions with the unmodified Node client, as far as they go without an engine.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { subscriber } from "./harness.mjs";

const CODE = "export default async (req) => Response.json({ method: req.method });";

// The tests of this file are one journey and build on each other.
let r, project;

before(async () => {
  ({ r } = await subscriber());
  project = await r.projects.provision({ name: "functions" });
});

test("a function is deployed through apply and listed", async () => {
  const deployed = await r.functions.deploy(project.project_id, { name: "echo", code: CODE });
  assert.equal(deployed.name, "echo");
  assert.match(deployed.url, /\/functions\/v1\/echo$/);
  const { functions } = await r.functions.list(project.project_id);
  assert.deepEqual(functions.map((f) => f.name), ["echo"]);
  assert.match(functions[0].url, /^http:.*\/functions\/v1\/echo$/);
  assert.equal(functions[0].schedule, null);
  assert.equal(functions[0].runtime_version, "4.0.0");
});

test("limits and schedule change without a deploy", async () => {
  const updated = await r.functions.update(project.project_id, "echo", { schedule: "*/15 * * * *", timeout: 20 });
  assert.deepEqual([updated.timeout, updated.schedule], [20, "*/15 * * * *"]);
  const [echo] = (await r.functions.list(project.project_id)).functions;
  assert.equal(echo.timeout, 20);
  const next = Date.parse(echo.schedule_meta.next_run_at) - Date.now();
  assert.ok(next > -1000 && next <= 15 * 60_000, echo.schedule_meta.next_run_at);
  const cleared = await r.functions.update(project.project_id, "echo", { schedule: null });
  assert.equal(cleared.schedule_meta, null);
});

test("a call says that this box has no engine yet, and is logged", async () => {
  await assert.rejects(r.functions.invoke(project.project_id, "echo", { method: "POST", body: { a: 1 } }), (error) => {
    assert.equal(error.status, 501);
    assert.equal(error.code, "NOT_IMPLEMENTED");
    return true;
  });
  let logs = [];
  for (let tries = 0; tries < 50 && logs.length < 2; tries += 1) {
    ({ logs } = await r.functions.logs(project.project_id, "echo", { tail: 10 }));
    if (logs.length < 2) await new Promise((done) => setTimeout(done, 100));
  }
  assert.equal(logs.length, 2);
  const requestId = logs[0].request_id;
  const again = await r.functions.logs(project.project_id, "echo", { tail: 10, requestId });
  assert.equal(again.logs.length, 2);
});

test("a deleted function is gone", async () => {
  const deleted = await r.functions.delete(project.project_id, "echo");
  assert.equal(deleted?.status ?? "deleted", "deleted");
  assert.deepEqual((await r.functions.list(project.project_id)).functions, []);
  await assert.rejects(r.functions.delete(project.project_id, "echo"), (error) => error.status === 404);
});
