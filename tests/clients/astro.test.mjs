// A site made by Astro with the unmodified @run402/astro: built here, deployed as the package says, rendered by the box.

import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { cp, mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { API, siteOrigin, subscriber } from "./harness.mjs";

const SITE = process.env.RUN402_TEST_ASTRO_SITE;
const PACKAGES = process.env.RUN402_TEST_ASTRO_PACKAGES;
const PASSWORD = "correct horse";

let room, project, origin;

before(async () => {
  const { r } = await subscriber();
  project = await r.projects.provision({ name: "astro" });
  // Imports resolve from where a file lies, so the site moves in with its packages.
  room = await mkdtemp(join(PACKAGES, "site-"));
  for (const part of ["astro.config.mjs", "slice.mjs", "src", "public"]) {
    await cp(join(SITE, part), join(room, part), { recursive: true });
  }
  await promisify(execFile)(process.execPath, [join(PACKAGES, "node_modules/astro/bin/astro.mjs"), "build"], {
    cwd: room,
    env: { ...process.env, RUN402_PROJECT_ID: project.project_id, ASTRO_TELEMETRY_DISABLED: "1" },
  });
  const { buildAstroReleaseSlice } = await import(pathToFileURL(join(room, "slice.mjs")));
  const slice = await buildAstroReleaseSlice(join(room, "dist"));
  assert.equal(slice.functions.replace.ssr.class, "ssr");
  const site = siteOrigin("astro");
  origin = site.origin;
  await (await r.project(project.project_id)).apply({ ...slice, subdomains: { set: [site.name] } });
});

after(() => room && rm(room, { recursive: true }));

const header = (response, name) => response.headers.get(name);

test("a page that asks for the user is rendered for each request, and kept by nobody", async () => {
  const bodies = [];
  for (let n = 0; n < 2; n += 1) {
    const page = await fetch(`${origin}/`);
    assert.equal(page.status, 200);
    assert.match(header(page, "content-type"), /^text\/html/);
    assert.equal(header(page, "cache-control"), "private, no-store");
    assert.equal(header(page, "x-run402-cache"), "dynamic-bypass");
    assert.match(header(page, "x-run402-request-id"), /^req_/);
    bodies.push(await page.text());
  }
  for (const body of bodies) assert.match(body, /<h1>Hello nobody<\/h1>/);
  assert.notEqual(bodies[0], bodies[1]);
});

test("it greets who has signed in, and shows nobody else what that person saw", async () => {
  const signedUp = await fetch(`${API}/auth/v1/signup`, {
    method: "POST",
    headers: { "content-type": "application/json", apikey: project.anon_key },
    body: JSON.stringify({ email: "ann@example.com", password: PASSWORD }),
  });
  assert.equal(signedUp.status, 201);
  const signedIn = await fetch(`${origin}/auth/sign-in`, {
    method: "POST",
    redirect: "manual",
    headers: { origin },
    body: new URLSearchParams({ email: "ann@example.com", password: PASSWORD, returnTo: "/" }),
  });
  assert.equal(signedIn.status, 303);
  const cookie = signedIn.headers.getSetCookie()[0].split(";")[0];
  const page = await fetch(`${origin}/`, { headers: { cookie } });
  assert.match(await page.text(), /<h1>Hello ann@example\.com<\/h1>/);
  assert.equal(header(page, "cache-control"), "private, no-store");
  // Even a page that allows to be shared is not kept once it has asked who is there.
  const mine = async (headers) => (await fetch(`${origin}/mine`, { headers })).text();
  assert.match(await mine({ cookie }), /Pages of ann@example\.com/);
  assert.match(await mine({}), /Pages of nobody/);
  assert.match(await mine({ cookie }), /Pages of ann@example\.com/);
});

test("pages with parameters, prerendered pages, files and endpoints are where Astro has them", async () => {
  const post = await fetch(`${origin}/posts/gr%C3%BCezi?a=1`);
  assert.deepEqual([post.status, (await post.text()).includes("<p>grüezi at ?a=1</p>")], [200, true]);
  const about = await fetch(`${origin}/about`);
  assert.match(await about.text(), /made by the build/);
  assert.notEqual(header(about, "x-run402-cache"), "dynamic-bypass");
  assert.equal(await (await fetch(`${origin}/file.txt`)).text(), "a file\n");
  const json = { method: "POST", headers: { "content-type": "application/json" }, body: '{"n": 21}' };
  assert.deepEqual(await (await fetch(`${origin}/api.json`, json)).json(), { twice: 42 });
  assert.equal((await fetch(`${origin}/nowhere`)).status, 404);
});

test("a page that crashes tells its code and not its reason", async () => {
  const lost = await fetch(`${origin}/posts/lost`);
  assert.equal(lost.status, 500);
  assert.doesNotMatch(await lost.text(), /s3cret-detail/);
});
