// From nothing to a paid project with SQL, with the unmodified Node client and real payment signatures.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { baseSepolia, base } from "viem/chains";
import { run402 } from "@run402/sdk/node";
import { API, balance, newcomer, wire } from "./harness.mjs";

const WEEK = 7 * 24 * 3600 * 1000;

// The tests of this file are one journey and build on each other.
let r, address, project;

before(async () => {
  ({ r, address } = await newcomer({ funded: false }));
});

test("a new wallet has no tier, no projects and no money", async () => {
  assert.equal(await balance(address), 0n);
  const local = await r.allowance.status();
  assert.deepEqual([local.configured, local.faucet_used], [true, false]);
  const status = await r.tier.status();
  assert.equal(status.wallet, address.toLowerCase());
  assert.deepEqual([status.tier, status.active, status.projects], [null, false, []]);
  assert.deepEqual((await r.projects.list()).projects, []);
});

test("the faucet gives a quarter of a dollar that the chain shows at once", async () => {
  const drip = await r.allowance.faucet();
  assert.deepEqual([drip.amount, drip.amountUsdMicros, drip.token, drip.network], ["0.25", 250_000, "USDC", "base-sepolia"]);
  assert.match(drip.transactionHash, /^0x[0-9a-f]{64}$/);
  assert.equal(await balance(address, baseSepolia), 250_000n);
  assert.equal(await balance(address, base), 0n);
  assert.equal((await r.allowance.status()).faucet_used, true);
  // A client reads its balance once: with a new one the policy "only chains that can pay" is in force.
  r = run402();
});

test("the quote names three tiers", async () => {
  const { tiers } = await r.projects.getQuote();
  assert.deepEqual(Object.keys(tiers).sort(), ["hobby", "prototype", "team"]);
  assert.equal(tiers.prototype.price, "$0.10");
  assert.equal(tiers.prototype.lease_days, 7);
});

test("setting a tier pays with x402 and starts a lease", async () => {
  wire.clear();
  const started = Date.now();
  const set = await r.tier.set("prototype");
  assert.deepEqual([set.action, set.tier, set.previous_tier], ["subscribe", "prototype", null]);
  assert.equal(set.wallet, address.toLowerCase());
  assert.ok(Math.abs(Date.parse(set.lease_expires_at) - started - WEEK) < 60_000, set.lease_expires_at);
  assert.equal(await balance(address), 150_000n);

  const [challenge, paid] = wire.exchanges;
  assert.deepEqual([challenge.status, paid.status], [402, 201]);
  assert.equal(challenge.request.get("sign-in-with-x"), paid.request.get("sign-in-with-x"));
  const receipt = JSON.parse(Buffer.from(paid.response.get("payment-response"), "base64"));
  assert.equal(receipt.success, true);
  assert.equal(receipt.network, "eip155:84532");
  assert.equal(receipt.payer.toLowerCase(), address.toLowerCase());
});

test("the status shows the lease and its limits", async () => {
  const status = await r.tier.status();
  assert.deepEqual([status.tier, status.active, status.lease_perpetual], ["prototype", true, false]);
  assert.equal(status.organization_lifecycle_state, "active");
  assert.equal(status.pool_usage.api_calls_limit, 500_000);
  assert.ok(status.function_limits.max_function_timeout_seconds >= 45);
});

test("setting it again renews from the current expiry", async () => {
  const before = await r.tier.status();
  const set = await r.tier.set("prototype");
  assert.equal(set.action, "renew");
  assert.equal(set.lease_started_at, before.lease_started_at);
  assert.equal(Date.parse(set.lease_expires_at) - Date.parse(before.lease_expires_at), WEEK);
  assert.equal(await balance(address), 50_000n);
});

test("provisioning gives keys, keeps them locally and makes the project active", async () => {
  project = await r.projects.provision({ tier: "prototype", name: "journey" });
  assert.match(project.project_id, /^prj_[a-z0-9_]+$/);
  assert.match(project.schema_slot, /^p\d{4,}$/);
  assert.equal(project.anon_key.split(".").length, 3);
  assert.equal(await r.projects.active(), project.project_id);
  const info = await r.projects.info(project.project_id);
  assert.deepEqual([info.anon_key, info.service_key], [project.anon_key, project.service_key]);
  assert.equal((await r.projects.keys(project.project_id)).anon_key, project.anon_key);
});

test("the project is listed and described", async () => {
  const { projects, has_more } = await r.projects.list();
  assert.deepEqual([projects.length, has_more], [1, false]);
  assert.deepEqual([projects[0].id, projects[0].name], [project.project_id, "journey"]);
  const detail = await r.projects.get(project.project_id);
  assert.equal(detail.project_id, project.project_id);
  assert.deepEqual([detail.tier, detail.effective_status, detail.last_deploy], ["prototype", "active", null]);
  assert.deepEqual((await r.projects.list({ org: detail.org_id })).projects.map(({ id }) => id), [project.project_id]);
  assert.equal((await r.projects.list({ all: true })).scope, "wallet");
});

test("lists come in pages", async () => {
  const second = await r.projects.provision({ name: "second" });
  const page = await r.projects.list({ limit: 1 });
  assert.equal(page.projects[0].id, second.project_id);
  assert.equal(page.has_more, true);
  const rest = await r.projects.list({ limit: 1, cursor: page.next_cursor });
  assert.equal(rest.projects[0].id, project.project_id);
  assert.deepEqual([rest.has_more, rest.next_cursor], [false, null]);
  await r.projects.delete(second.project_id);
});

test("a project can be renamed", async () => {
  assert.deepEqual(await r.projects.rename(project.project_id, "renamed"), { project_id: project.project_id, name: "renamed" });
  assert.equal((await r.projects.get(project.project_id)).name, "renamed");
});

test("SQL runs as text", async () => {
  const made = await r.projects.sql(project.project_id, "create table notes(id serial primary key, body text not null, n int8)");
  assert.deepEqual(made, { status: "ok", schema: project.schema_slot, rows: [], rowCount: null, fields: [] });
  const put = await r.projects.sql(project.project_id, "insert into notes(body, n) values ('a', 1), ('b', 2)");
  assert.equal(put.rowCount, 2);
  const { rows, rowCount } = await r.projects.sql(project.project_id, "select id, body, n from notes order by id");
  assert.deepEqual(rows, [{ id: 1, body: "a", n: "1" }, { id: 2, body: "b", n: "2" }]);
  assert.equal(rowCount, 2);
});

test("SQL runs with parameters", async () => {
  const sql = "select $1::int8 as a, $2::jsonb as b, count(*)::int as c from notes where body = any($3::text[])";
  const { rows, fields } = await r.projects.sql(project.project_id, sql, [7, { k: 1 }, ["a", "it's; --"]]);
  assert.deepEqual(rows, [{ a: "7", b: { k: 1 }, c: 1 }]);
  assert.deepEqual(fields.map(({ type }) => type), ["int8", "jsonb", "int4"]);
});

test("the schema shows what SQL made", async () => {
  const { schema, tables } = await r.projects.getSchema(project.project_id);
  assert.equal(schema, project.schema_slot);
  assert.deepEqual(tables.map(({ name }) => name), ["notes"]);
  assert.deepEqual(tables[0].columns.map(({ name, type, nullable }) => [name, type, nullable]), [
    ["id", "integer", false],
    ["body", "text", false],
    ["n", "bigint", true],
  ]);
  assert.ok(tables[0].constraints.some(({ type }) => type === "PRIMARY KEY"));
});

test("usage counts the calls", async () => {
  const first = await r.projects.getUsage(project.project_id);
  assert.ok(first.api_calls >= 4, String(first.api_calls));
  await r.projects.sql(project.project_id, "select 1");
  const second = await r.projects.getUsage(project.project_id);
  assert.equal(second.api_calls, first.api_calls + 1);
  assert.deepEqual([second.api_calls_limit, second.tier], [500_000, "prototype"]);
});

test("the history shows each payment as a credit and a debit", async () => {
  const detail = await r.billing.checkBalance(address);
  assert.deepEqual([detail.available_usd_micros, detail.tier], [0, "prototype"]);
  const { org_id, entries, has_more } = await r.billing.history(address);
  assert.equal(org_id, detail.org_id);
  assert.equal(has_more, false);
  assert.deepEqual(
    entries.map(({ direction, kind, amount_usd_micros }) => [direction, kind, amount_usd_micros]),
    [
      ["debit", "tier_renew", 100_000],
      ["credit", "x402_payment", 100_000],
      ["debit", "tier_subscribe", 100_000],
      ["credit", "x402_payment", 100_000],
    ],
  );
  const page = await r.billing.history(org_id, { limit: 3 });
  assert.deepEqual([page.entries.length, page.has_more], [3, true]);
  const rest = await r.billing.history(org_id, { limit: 3, after: page.next_cursor });
  assert.deepEqual(rest.entries.map(({ id }) => id), [entries[3].id]);
});

test("health and status are understood", async () => {
  const health = await r.service.health();
  assert.equal(health.status, "healthy");
  assert.ok(Object.values(health.checks).every((state) => state === "ok"));
  const status = await r.service.status();
  assert.equal(status.status, "ok");
  assert.ok(Array.isArray(status.capabilities) && status.capabilities.includes("x402"));
});

test("deleting ends the project and forgets its keys", async () => {
  await r.projects.delete(project.project_id);
  assert.deepEqual((await r.projects.list()).projects, []);
  await assert.rejects(r.projects.keys(project.project_id), { kind: "project_not_found" });
  const headers = { authorization: `Bearer ${project.service_key}` };
  const response = await fetch(`${API}/projects/v1/admin/${project.project_id}/usage`, { headers });
  assert.equal(response.status, 401);
});
