// The classes and fields in which the client hands the box's refusals to programs.

import assert from "node:assert/strict";
import { test } from "node:test";
import { run402 } from "@run402/sdk/node";
import { admin, failure, freshConfig, newcomer, subscriber, wire } from "./harness.mjs";

test("a client that cannot pay gets PaymentRequired with the offer", async () => {
  await newcomer();
  const r = run402({ disablePaidFetch: true });
  const error = await failure(r.tier.set("prototype"));
  assert.deepEqual([error.kind, error.status, error.code], ["payment_required", 402, "PAYMENT_REQUIRED"]);
  assert.equal(error.category, "payment");
  assert.equal(error.body.x402.accepts[0].amount, "100000");
  assert.equal(error.nextActions[0].type, "submit_payment");
  assert.match(error.traceId, /^trc_/);
});

test("a wallet that holds too little gets the reason, and nothing is taken", async () => {
  const { r, address } = await newcomer({ funded: false });
  const error = await failure(r.tier.set("prototype"));
  assert.deepEqual([error.kind, error.code], ["payment_required", "INSUFFICIENT_FUNDS"]);
  assert.equal(error.details.reason, "insufficient_funds");
  assert.equal(error.nextActions[0].type, "fund_wallet");
  assert.equal(error.details.payer.toLowerCase(), address.toLowerCase());
});

test("no wallet is Unauthorized", async () => {
  await freshConfig();
  const error = await failure(run402().tier.status());
  assert.deepEqual([error.kind, error.status, error.code], ["unauthorized", 401, "AUTHENTICATION_REQUIRED"]);
});

test("a project of somebody else is NotAuthorized, like one that does not exist", async () => {
  const { r: owner } = await subscriber();
  const { project_id } = await owner.projects.provision({ name: "mine" });
  const { r } = await subscriber();
  for (const id of [project_id, "prj_1777563179844_1095"]) {
    const error = await failure(r.projects.get(id));
    assert.deepEqual([error.kind, error.status, error.reason], ["not_authorized", 403, "project_not_found"]);
  }
});

test("the key of another project is Unauthorized", async () => {
  const { r } = await subscriber();
  const mine = await r.projects.provision({ name: "mine" });
  const other = await r.projects.provision({ name: "other" });
  const { NodeCredentialsProvider } = await import("@run402/sdk/node");
  class Mixed extends NodeCredentialsProvider {
    async getProject() {
      return { anon_key: mine.anon_key, service_key: mine.service_key };
    }
  }
  const mixed = run402({ credentials: new Mixed() });
  const error = await failure(mixed.projects.sql(other.project_id, "select 1"));
  assert.deepEqual([error.kind, error.status, error.code], ["unauthorized", 403, "FORBIDDEN"]);
});

test("an unknown project is ProjectNotFound without a request", async () => {
  const { r } = await newcomer();
  wire.clear();
  const error = await failure(r.projects.sql("prj_nobody", "select 1"));
  assert.equal(error.kind, "project_not_found");
  assert.equal(wire.exchanges.length, 0);
});

test("a SQL error is an ApiError with the database's facts", async () => {
  const { r } = await subscriber();
  const { project_id } = await r.projects.provision({ name: "sql" });
  const error = await failure(r.projects.sql(project_id, "select boom"));
  assert.deepEqual([error.kind, error.status, error.code], ["api_error", 400, "SQL_ERROR"]);
  assert.deepEqual([error.retryable, error.safeToRetry, error.mutationState], [false, true, "rolled_back"]);
  assert.equal(error.details.sqlstate, "42703");
  assert.equal(error.details.position, 8);
});

test("a blocked statement is Unauthorized with a hint", async () => {
  const { r } = await subscriber();
  const { project_id } = await r.projects.provision({ name: "sql" });
  const error = await failure(r.projects.sql(project_id, "create extension dblink"));
  assert.deepEqual([error.kind, error.code, error.mutationState], ["unauthorized", "FORBIDDEN", "not_started"]);
  assert.match(error.body.hint, /\w/);
});

test("bad input is an ApiError that must not be retried", async () => {
  const { r } = await subscriber();
  const error = await failure(r.projects.provision({ name: "x".repeat(300) }));
  assert.deepEqual([error.kind, error.status, error.code, error.retryable], ["api_error", 400, "VALIDATION_ERROR", false]);
  const tier = await failure(r.tier.set("platinum"));
  assert.deepEqual([tier.kind, tier.status, tier.code], ["api_error", 400, "INVALID_TIER"]);
});

test("what is not built yet is an ApiError that must not be retried", async () => {
  const { r } = await subscriber();
  const error = await failure(r.billing.createEmailOrganization("a@example.com"));
  assert.deepEqual([error.kind, error.status, error.code, error.retryable], ["api_error", 501, "NOT_IMPLEMENTED", false]);
});

test("an admin route is Unauthorized for anybody else", async () => {
  const { r, address } = await subscriber();
  const { org_id } = await r.billing.checkBalance(address);
  const error = await failure(r.admin.setLeasePerpetual(org_id, true));
  assert.deepEqual([error.kind, error.status, error.code], ["unauthorized", 403, "ADMIN_REQUIRED"]);
});

test("a prepaid balance buys a tier without a 402 on the wire", async () => {
  const { r, address } = await subscriber();
  const { org_id } = await r.billing.checkBalance(address);
  await admin(`/admin/v1/orgs/${org_id}/credit`, { amount_usd_micros: 5_000_000, note: "test" });
  wire.clear();
  const set = await r.tier.set("hobby");
  assert.deepEqual([set.action, set.previous_tier], ["upgrade", "prototype"]);
  assert.deepEqual(wire.exchanges.map(({ status }) => status).filter((status) => status === 402), []);
});

test("a lookup of a wallet without an organisation is a plain 404", async () => {
  const { r, address } = await newcomer();
  const error = await failure(r.billing.checkBalance(address));
  assert.deepEqual([error.kind, error.status, error.code], ["api_error", 404, "ORGANIZATION_NOT_FOUND"]);
});
