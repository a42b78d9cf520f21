// `functions.*` of the unmodified SDK, run by the box's own engine.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { API, failure, subscriber, wire } from "./harness.mjs";

const ECHO = `export default async (req) => {
  const text = await req.text();
  console.log("called", req.method);
  return Response.json({ m: req.method, p: new URL(req.url).pathname, key: req.headers.get("apikey"), text });
}`;

// The tests of this file are one journey and build on each other.
let r, project, id;

before(async () => {
  ({ r } = await subscriber());
  project = await r.projects.provision({ name: "functions" });
  id = project.project_id;
});

const json = (answer) => (typeof answer === "string" ? JSON.parse(answer) : answer);

/** Asks again until the answer is good. */
async function until(ask, good) {
  for (let tries = 0; ; tries += 1) {
    const answer = await ask();
    if (good(answer)) return answer;
    assert.ok(tries < 100, JSON.stringify(answer));
    await new Promise((done) => setTimeout(done, 100));
  }
}

test("a function is deployed through apply and listed", async () => {
  const deployed = await r.functions.deploy(id, { name: "echo", code: ECHO });
  assert.equal(deployed.name, "echo");
  assert.match(deployed.url, /\/functions\/v1\/echo$/);
  const { functions } = await r.functions.list(id);
  assert.deepEqual(functions.map((f) => f.name), ["echo"]);
  assert.match(functions[0].url, /^http:.*\/functions\/v1\/echo$/);
  assert.equal(functions[0].schedule, null);
  assert.equal(functions[0].runtime_version, "4.0.0");
});

test("it is invoked with objects, text and other methods", async () => {
  const called = await r.functions.invoke(id, "echo", { method: "POST", body: { a: 1 } });
  assert.equal(called.status, 200);
  assert.equal(typeof called.duration_ms, "number");
  const { m, p, key, text } = json(called.body);
  assert.deepEqual([m, p, key, JSON.parse(text)], ["POST", "/functions/v1/echo", project.service_key, { a: 1 }]);
  assert.equal(json((await r.functions.invoke(id, "echo", { body: "plain" })).body).text, "plain");
  assert.equal(json((await r.functions.invoke(id, "echo", { method: "GET" })).body).m, "GET");
});

test("every kind of key has its answer", async () => {
  const call = (headers) => fetch(`${API}/functions/v1/echo/a?x=1`, { method: "PUT", headers });
  for (const headers of [
    { apikey: project.anon_key },
    { apikey: project.service_key },
    { authorization: `Bearer ${project.service_key}` },
  ]) {
    const response = await call(headers);
    assert.deepEqual([response.status, (await response.json()).p], [200, "/functions/v1/echo/a"]);
    assert.match(response.headers.get("x-run402-request-id"), /^req_[A-Za-z0-9_-]{4,128}$/);
    assert.equal(response.headers.get("access-control-allow-origin"), "*");
  }
  for (const [headers, status] of [
    [{}, 401],
    [{ apikey: "random" }, 401],
    [{ authorization: `Bearer ${project.anon_key}` }, 401],
  ]) {
    const response = await call(headers);
    assert.equal(response.status, status);
    const body = await response.json();
    for (const field of ["error", "message", "code"]) assert.equal(typeof body[field], "string", field);
  }
});

test("what it writes is read by tail, time and request", async () => {
  const { logs } = await until(
    () => r.functions.logs(id, "echo", { tail: 1000 }),
    ({ logs }) => logs.filter(({ message }) => message.startsWith("called")).length === 6,
  );
  const requestId = logs[0].request_id;
  const one = await r.functions.logs(id, "echo", { tail: 10, requestId });
  assert.ok(one.logs.length >= 3 && one.logs.every((entry) => entry.request_id === requestId), JSON.stringify(one.logs));
  const since = logs[5].timestamp;
  const later = await r.functions.logs(id, "echo", { tail: 1000, since });
  assert.ok(later.logs.some(({ event_id }) => event_id === logs[5].event_id));
  assert.equal(new Set(logs.map(({ event_id }) => event_id)).size, logs.length);
});

test("an error of the function is a status, never its text", async () => {
  await r.functions.deploy(id, { name: "fails", code: "export default () => { throw new Error('s3cret-detail') }" });
  const error = await failure(r.functions.invoke(id, "fails", { method: "POST", body: {} }));
  assert.deepEqual([error.status, error.code ?? error.body?.code], [500, "FUNCTION_RUNTIME_ERROR"]);
  assert.ok(!JSON.stringify(error.body ?? {}).includes("s3cret-detail"));
  const { logs } = await until(
    () => r.functions.logs(id, "fails", { tail: 10, requestId: error.body.request_id }),
    ({ logs }) => logs.some(({ message }) => message.includes("s3cret-detail")),
  );
  assert.ok(logs.every(({ request_id }) => request_id === error.body.request_id));
});

test("secrets are its environment from the next call on", async () => {
  await r.functions.deploy(id, { name: "env", code: "export default () => Response.json(process.env.API_KEY?.length ?? null)" });
  const read = async () => json((await r.functions.invoke(id, "env", { method: "GET" })).body);
  assert.equal(await read(), null);
  await r.secrets.set(id, "API_KEY", "0123456789");
  assert.equal(await read(), 10);
  await r.secrets.delete(id, "API_KEY");
  assert.equal(await read(), null);
});

test("limits and schedule change without a deploy", async () => {
  const updated = await r.functions.update(id, "echo", { schedule: "*/15 * * * *", timeout: 20 });
  assert.deepEqual([updated.timeout, updated.schedule], [20, "*/15 * * * *"]);
  const echo = (await r.functions.list(id)).functions.find(({ name }) => name === "echo");
  assert.equal(echo.timeout, 20);
  const next = Date.parse(echo.schedule_meta.next_run_at) - Date.now();
  assert.ok(next > -1000 && next <= 15 * 60_000, echo.schedule_meta.next_run_at);
  const cleared = await r.functions.update(id, "echo", { schedule: null });
  assert.equal(cleared.schedule_meta, null);
  const scheduled = await r.functions.deploy(id, { name: "tick", code: ECHO, schedule: "0 0 1 1 *" });
  assert.equal(scheduled.schedule ?? "0 0 1 1 *", "0 0 1 1 *");
  const tick = (await r.functions.list(id)).functions.find(({ name }) => name === "tick");
  assert.deepEqual([tick.schedule, tick.schedule_meta.run_count], ["0 0 1 1 *", 0]);
});

test("limits beyond the tier are refused before anything is planned", async () => {
  wire.clear();
  const error = await failure(r.functions.deploy(id, { name: "slow", code: ECHO, config: { timeout: 61 } }));
  assert.equal(error.code ?? error.body?.code, "BAD_FIELD");
  assert.ok(!wire.exchanges.some(({ url }) => String(url).includes("/apply/v1/plans")), "no plan was asked for");
});

test("code that cannot run is refused with its reason, and what is live stays", async () => {
  const error = await failure(r.functions.deploy(id, { name: "echo", code: "import 'node:cluster'; export default () => 1" }));
  assert.equal(error.code ?? error.body?.code, "FUNCTION_BUILD_FAILED");
  assert.match(error.message, /node:cluster/);
  assert.equal(json((await r.functions.invoke(id, "echo", { method: "GET" })).body).m, "GET");
});

test("it is built anew by its owner", async () => {
  const rebuilt = await r.functions.rebuild(id, "echo");
  assert.deepEqual([rebuilt.name, rebuilt.rebuilt], ["echo", true]);
  const all = await r.functions.rebuildAll(id);
  assert.deepEqual([all.total, all.rebuilt_count], [4, 4]);
});

test("a deleted function is gone", async () => {
  const deleted = await r.functions.delete(id, "echo");
  assert.equal(deleted?.status ?? "deleted", "deleted");
  assert.ok(!(await r.functions.list(id)).functions.some(({ name }) => name === "echo"));
  for (const gone of [r.functions.delete(id, "echo"), r.functions.invoke(id, "echo", { method: "GET" })]) {
    assert.equal((await failure(gone)).status, 404);
  }
});
