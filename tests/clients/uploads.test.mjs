// Uploads through the SDK that go wrong on their way (contract 03 §3.2, §3.5; check 6 of its list). The box of this
// suite takes 16 MiB in one PUT, so that a file of 40 MiB has three parts.

import assert from "node:assert/strict";
import { createHash, randomFillSync } from "node:crypto";
import { request } from "node:http";
import { before, beforeEach, test } from "node:test";
import { failure, subscriber, wire } from "./harness.mjs";

const MIB = 1024 * 1024;

/** Asked before every request: an answer of its own, an error, or nothing. */
let interfere;
const reached = globalThis.fetch;
globalThis.fetch = async (input, init) => {
  const asked = new Request(input, init);
  return (await interfere?.(asked)) || reached(asked);
};

let r, id, p;

before(async () => {
  ({ r } = await subscriber());
  ({ project_id: id } = await r.projects.provision({ name: "uploads" }));
  p = await r.project(id);
});

beforeEach(() => {
  interfere = undefined;
  wire.clear();
});

/** Bytes nobody has uploaded. */
const fresh = (length) => {
  const bytes = new Uint8Array(length);
  for (let start = 0; start < length; start += MIB) randomFillSync(bytes, start, Math.min(MIB, length - start));
  return bytes;
};

const part = ({ method, path, url }) =>
  method === "PUT" ? Number(/\/parts\/(\d+)\?/.exec(path ?? url)?.[1]) : undefined;

const puts = () => wire.exchanges.filter(({ method }) => method === "PUT");

/** SHA-256 of what a browser gets. */
function served(address) {
  const { port, pathname, host } = new URL(address);
  return new Promise((resolve, reject) => {
    const hash = createHash("sha256");
    request({ host: "127.0.0.1", port, path: pathname, headers: { host } }, (response) => {
      response.on("data", (chunk) => hash.update(chunk));
      response.on("end", () => resolve([response.statusCode, hash.digest("hex")]));
    }).on("error", reject).end();
  });
}

const digest = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** Sends half of a request's body to where it was going, and breaks the connection. */
async function breakOff(asked) {
  const body = Buffer.from(await asked.clone().arrayBuffer());
  const { hostname, port, pathname, search } = new URL(asked.url);
  const headers = { ...Object.fromEntries(asked.headers), "content-length": body.length };
  await new Promise((resolve) => {
    const sending = request({ hostname, port, path: pathname + search, method: "PUT", headers });
    sending.on("error", resolve);
    sending.on("close", resolve);
    sending.write(body.subarray(0, body.length / 2), () => sending.destroy());
  });
  throw new TypeError("the connection broke");
}

test("a file of 40 MiB travels in three parts and is served whole", async () => {
  const large = fresh(40 * MIB);
  const done = await p.apply({ site: { replace: { "index.html": "small", "large.bin": large, "empty.txt": "" } } });
  const parts = puts().filter(({ path }) => path.includes("/parts/")).map(part).sort();
  assert.deepEqual(parts, [1, 1, 1, 2, 3], "three of the large file, one of each other");
  for (const { status, request: sent, response } of puts()) {
    assert.equal(status, 200);
    assert.ok(response.get("etag"), "an ETag for every part");
    assert.match(sent.get("x-amz-checksum-sha256"), /^[A-Za-z0-9+/]{43}=$/);
    assert.deepEqual([sent.get("authorization"), sent.get("apikey")], [null, null]);
  }
  assert.deepEqual(await served(`${done.urls.project}/large.bin`), [200, digest(large)]);
  assert.deepEqual(await served(`${done.urls.project}/empty.txt`), [200, digest("")]);
});

test("a part whose connection breaks is sent again, and the deploy goes on", async () => {
  const large = fresh(40 * MIB);
  let broken = 0;
  interfere = (asked) => {
    if (part(asked) !== 2 || broken === 2) return undefined;
    broken += 1;
    return broken === 1 ? breakOff(asked) : new Response("busy", { status: 503 });
  };
  const done = await p.apply({ site: { patch: { put: { "large.bin": large } } } });
  assert.equal(broken, 2);
  const sent = puts().map((exchange) => [part(exchange), exchange.status, exchange.path]);
  assert.deepEqual(sent.map(([number, status]) => [number, status]), [[1, 200], [1, 200], [1, 200], [2, 200], [3, 200]]);
  assert.equal(new Set(sent.map(([, , path]) => path)).size, 3, "at the same URLs");
  assert.deepEqual(await served(`${done.urls.project}/large.bin`), [200, digest(large)]);
});

test("an upload that was given up leaves nothing, and the next deploy completes it", async () => {
  const before = await p.apply.getActiveRelease();
  const large = fresh(40 * MIB);
  const spec = { site: { patch: { put: { "large.bin": large, "beside.txt": digest(large) } } } };
  interfere = (asked) => part(asked) === 3 && new Response("no", { status: 400 });
  const broken = await failure(p.apply(spec));
  assert.deepEqual([broken.code, broken.phase], ["CONTENT_UPLOAD_FAILED", "upload"]);
  assert.equal((await p.apply.getActiveRelease()).release_id, before.release_id, "nothing is live");
  const { plan } = await p.apply.plan(spec, { dryRun: true });
  assert.ok(plan.missing_content.every(({ present }) => !present), "and nothing counts as uploaded");

  interfere = undefined;
  const done = await p.apply(spec);
  assert.deepEqual(await served(`${done.urls.project}/large.bin`), [200, digest(large)]);
  assert.deepEqual(await served(`${done.urls.project}/beside.txt`), [200, digest(digest(large))]);
});

test("what was uploaded is not sent again when the deploy broke off after it", async () => {
  const large = fresh(40 * MIB);
  const spec = { site: { patch: { put: { "large.bin": large } } } };
  interfere = ({ method, url }) => {
    if (method === "POST" && /\/apply\/v1\/plans\/[^/]+\/commit/.test(url)) throw new TypeError("the laptop was closed");
  };
  await failure(p.apply(spec));
  assert.deepEqual(puts().map(part), [1, 2, 3]);
  interfere = undefined;
  wire.clear();
  const skipped = [];
  const done = await p.apply(spec, {
    onEvent: (event) => event.type === "content.upload.skipped" && skipped.push(event.sha256),
  });
  assert.deepEqual([puts(), skipped], [[], [digest(large)]]);
  assert.deepEqual(await served(`${done.urls.project}/large.bin`), [200, digest(large)]);
});
