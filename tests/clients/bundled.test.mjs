// The unmodified functions package where a function brings its own copy along: esbuild puts it into the code, and so
// the box's own module is not there. What needs no context of the request works, over HTTP to the box.

import assert from "node:assert/strict";
import { createHmac } from "node:crypto";
import { before, test } from "node:test";
import { build } from "esbuild";
import { API, siteOrigin, subscriber } from "./harness.mjs";

const CODE = `
import { adminDb, auth, db, routedHttp, verifyWebhook } from "@run402/functions";

const cases = {
  user: () => auth.user(),
  sql: () => adminDb().sql("select $1::int as n", [7]),
  syntax: () => adminDb().sql("select boom"),
  all: () => adminDb().from("notes").select("text").order("id"),
  mine: (req) => db(req).from("notes").select("text").order("id"),
  add: (req) => db(req).from("notes").insert({ text: "by the function" }),
  webhook: async (req) => verifyWebhook(req.headers, await req.text(), "whsec"),
};

export default async (req) => {
  const name = new URL(req.url).searchParams.get("case");
  if (name === "text") return routedHttp.text("grüezi", { status: 203, headers: [["x-mine", "1"]] });
  try {
    return Response.json(await cases[name](req));
  } catch ({ name, code, status }) {
    return Response.json({ name, code, status });
  }
};`;

const PASSWORD = "correct horse";

let project, origin, ann, bob;

before(async () => {
  const { metafile, outputFiles } = await build({
    stdin: { contents: CODE, resolveDir: import.meta.dirname },
    bundle: true,
    platform: "node",
    format: "esm",
    metafile: true,
    write: false,
  });
  const [{ imports }] = Object.values(metafile.outputs);
  assert.ok(imports.every(({ path }) => path.startsWith("node:")), JSON.stringify(imports));
  const source = outputFiles[0].text;

  const { r } = await subscriber();
  project = await r.projects.provision({ name: "bundled" });
  const site = siteOrigin("bundled");
  origin = site.origin;
  await (await r.project(project.project_id)).apply({
    database: {
      migrations: [
        { id: "001", sql: "create table notes (id bigint generated always as identity primary key, owner uuid default auth.uid(), text text not null)" },
      ],
      expose: {
        version: "1",
        tables: [{ name: "notes", expose: true, policy: "user_owns_rows", owner_column: "owner", force_owner_on_insert: true }],
      },
    },
    functions: { replace: { bundled: { source } } },
    routes: { replace: [{ pattern: "/app", target: { type: "function", name: "bundled" } }] },
    subdomains: { set: [site.name] },
  });
  [ann, bob] = [await signUp("ann@example.com"), await signUp("bob@example.com")];
});

async function post(path, body) {
  const response = await fetch(API + path, {
    method: "POST",
    headers: { "content-type": "application/json", apikey: project.anon_key },
    body: JSON.stringify(body),
  });
  assert.ok(response.ok, `${path}: ${response.status}`);
  return response.json();
}

async function signUp(email) {
  await post("/auth/v1/signup", { email, password: PASSWORD });
  return (await post("/auth/v1/token?grant_type=password", { email, password: PASSWORD })).access_token;
}

const direct = (name, headers = {}, init = {}) =>
  fetch(`${API}/functions/v1/bundled?case=${name}`, { ...init, headers: { apikey: project.anon_key, ...headers } });

async function answer(name, token) {
  const response = await direct(name, token ? { authorization: `Bearer ${token}` } : {});
  assert.equal(response.status, 200);
  return response.json();
}

test("it knows no user, however the call is made", async () => {
  assert.equal(await answer("user"), null);
  assert.equal(await answer("user", ann), null);
  const routed = await fetch(`${origin}/app?case=user`, { headers: { authorization: `Bearer ${ann}` } });
  assert.deepEqual([routed.status, await routed.json()], [200, null]);
});

test("adminDb() runs SQL", async () => {
  const result = await answer("sql");
  assert.deepEqual(result.rows, [{ n: 7 }]);
  const error = await answer("syntax");
  assert.deepEqual([error.code, error.status], ["R402_DB_SQL_ERROR", 400]);
});

test("db(req) is the user of the Bearer, and adminDb() sees everybody's rows", async () => {
  assert.deepEqual((await answer("add", ann)).map(({ text }) => text), ["by the function"]);
  await answer("add", bob);
  assert.deepEqual(await answer("mine", ann), [{ text: "by the function" }]);
  assert.equal((await answer("all", ann)).length, 2);
  const routed = await fetch(`${origin}/app?case=mine`, { headers: { authorization: `Bearer ${bob}` } });
  assert.deepEqual(await routed.json(), [{ text: "by the function" }]);
});

test("verifyWebhook() reads the headers and the body as they were sent", async () => {
  const at = Math.floor(Date.now() / 1000);
  const body = '{"a": "ü"}';
  const signature = (secret) => `t=${at},v1=${createHmac("sha256", secret).update(`${at}.${body}`).digest("hex")}`;
  const sent = async (secret) => (await direct("webhook", { "run402-signature": signature(secret) }, { method: "POST", body })).json();
  assert.deepEqual(await sent("whsec"), { valid: true, timestamp: at, secret_used: "current" });
  assert.deepEqual(await sent("another"), { valid: false, reason: "signature_mismatch" });
});

test("routedHttp.text() is an answer, direct and routed", async () => {
  for (const response of [await direct("text"), await fetch(`${origin}/app?case=text`)]) {
    const { headers } = response;
    assert.deepEqual(
      [response.status, headers.get("content-type"), headers.get("x-mine"), await response.text()],
      [203, "text/plain; charset=utf-8", "1", "grüezi"],
    );
  }
});
