// What a person's browser makes of the box: the greeting page, and a site deployed by the SDK whose tags carry
// integrity digests. Chromium does the judging.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { API, subscriber } from "./harness.mjs";

const SHOTS = process.env.RUN402_TEST_SCREENSHOTS;
const PIXEL = Buffer.from(
  "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
  "base64",
);

const SCRIPT = `document.querySelector("output").textContent = "script ran";`;

let browser, r, project, url;

before(async () => {
  browser = await chromium.launch({
    executablePath: process.env.RUN402_TEST_CHROMIUM,
    args: [
      "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
      "--disable-background-networking", "--disable-component-update",
      "--host-resolver-rules=MAP *.localhost 127.0.0.1",
    ],
  });
  ({ r } = await subscriber());
  project = await r.projects.provision({ name: "browser" });
});

after(() => browser?.close());

/** A page that remembers what went wrong on it. */
async function visit(address, options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  page.on("pageerror", (error) => complaints.push(String(error)));
  page.on("requestfailed", (request) => complaints.push(`${request.url()}: ${request.failure()?.errorText}`));
  const response = await page.goto(address, { waitUntil: "networkidle" });
  return { page, response, complaints };
}

async function shoot(page, name) {
  if (!SHOTS) return;
  await mkdir(SHOTS, { recursive: true });
  await page.screenshot({ path: join(SHOTS, `${name}.png`), fullPage: true });
}

const sri = (bytes) => `sha256-${createHash("sha256").update(bytes).digest("base64")}`;

for (const colorScheme of ["light", "dark"]) {
  test(`the greeting page is whole and quiet in ${colorScheme}`, async () => {
    const { page, response, complaints } = await visit(`${API}/`, { colorScheme });
    assert.equal(response.status(), 200);
    assert.match(response.headers()["content-security-policy"], /default-src 'none'/);
    assert.deepEqual(complaints, []);
    assert.match(await page.title(), /Run402/);
    const text = await page.locator("main").innerText();
    assert.match(text, /RUN402_API_BASE=http/);
    assert.doesNotMatch(text, /\/var\/lib|\/tmp|data-dir/);
    // The stylesheet is in force, and the page does not scroll sideways on a phone.
    assert.notEqual(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgba(0, 0, 0, 0)");
    await shoot(page, `greeting-${colorScheme}`);
    await page.setViewportSize({ width: 360, height: 740 });
    assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth));
    await shoot(page, `greeting-${colorScheme}-phone`);
    // Every link leads somewhere.
    for (const link of await page.locator("a").all()) {
      const answer = await page.request.get(new URL(await link.getAttribute("href"), API).href);
      assert.equal(answer.status(), 200);
    }
  });
}

test("a deployed site loads without a complaint, its own integrity digests included", async () => {
  const style = "body { margin: 3rem; font: 1.25rem system-ui; } output { color: rgb(10, 120, 90); }";
  const html = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>site</title>
<link rel="icon" href="/pixel.png"><link rel="stylesheet" href="/site.css" integrity="${sri(style)}"></head>
<body><h1>Deployed by the SDK</h1><output>nothing ran</output><img src="/pixel.png" alt="a pixel" width="64" height="64">
<script src="/site.js" integrity="${sri(SCRIPT)}"></script></body></html>`;
  const deployed = await (await r.project(project.project_id)).apply({
    site: { replace: { "index.html": html, "site.js": SCRIPT, "site.css": style, "pixel.png": new Uint8Array(PIXEL) } },
  });
  url = deployed.urls.project;
  const { page, response, complaints } = await visit(url);
  assert.equal(response.status(), 200);
  assert.deepEqual(complaints, []);
  assert.equal(await page.locator("output").textContent(), "script ran");
  assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector("output")).color), "rgb(10, 120, 90)");
  assert.ok(await page.evaluate(() => document.querySelector("img").naturalWidth === 1));
  await shoot(page, "site");
  // The second visit revalidates: nothing is sent again.
  const again = await page.reload({ waitUntil: "networkidle" });
  assert.ok([200, 304].includes(again.status()));
  assert.deepEqual(complaints, []);
});

/** Loads the site while somebody between the box and the browser sends `body` for what `pattern` names. */
async function tamper(pattern, body) {
  const page = await (await browser.newContext()).newPage();
  const complaints = [];
  page.on("console", (message) => message.type() === "error" && complaints.push(message.text()));
  const headers = { "access-control-allow-origin": "*", "content-type": "text/javascript" };
  await page.route(pattern, (route) => route.fulfill({ status: 200, headers, body }));
  await page.goto(url, { waitUntil: "networkidle" });
  return { page, complaints };
}

test("one changed byte of a script with a digest is refused", async () => {
  const { page, complaints } = await tamper("**/site.js", SCRIPT.replace("ran", "rAn"));
  assert.equal(await page.locator("output").textContent(), "nothing ran");
  assert.ok(complaints.some((text) => text.includes("integrity")), complaints.join("\n"));
});

for (const colorScheme of ["light", "dark"]) {
  test(`errors are pages a person can read in ${colorScheme}`, async () => {
    const { hostname, port } = new URL(url);
    const empty = await r.projects.provision({ name: `empty-${colorScheme}` });
    const { public_id } = await r.projects.get(empty.project_id);
    const on = (host) => `http://${host}:${port}`;
    const parent = hostname.split(".").slice(1).join(".");
    for (const [name, address, status, code] of [
      ["missing", `${url}/missing.html`, 404, "STATIC_NOT_FOUND"],
      ["path", `${url}/a%2fb`, 400, "PATH_ENCODED_SEPARATOR"],
      ["undeployed", on(`pr-${public_id}.${parent}`), 404, "NO_SITE_DEPLOYED"],
      ["unknown", on(`nobody.${parent}`), 404, "SUBDOMAIN_NOT_CONFIGURED"],
    ]) {
      const { page, response, complaints } = await visit(address, { colorScheme });
      assert.equal(response.status(), status, name);
      assert.match(await page.locator("main").innerText(), new RegExp(`${status} [\\s\\S]*${code}`));
      assert.notEqual(await page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgba(0, 0, 0, 0)");
      // The browser itself reports the failed navigation; the page's policy must not refuse the page's own style.
      assert.ok(!complaints.some((text) => /Content Security|style/i.test(text)), complaints.join("\n"));
      await shoot(page, `error-${name}-${colorScheme}`);
      await page.setViewportSize({ width: 360, height: 740 });
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth));
    }
  });
}

test("tags made of asset references load, and one changed byte is refused", async () => {
  const { assets } = await r.project(project.project_id);
  const body = "document.body.dataset.asset = 'ran';";
  const script = await assets.put("asset.js", body);
  const style = await assets.put("asset.css", "h1 { color: rgb(1, 2, 3); }");
  const image = await assets.put("pixel.png", new Uint8Array(PIXEL), { contentType: "image/png" });
  const page = (tags) => `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>assets</title>
<link rel="icon" href="data:,">${style.linkTag()}</head><body><h1>assets</h1>${image.imgTag("a pixel")}${tags}</body></html>`;
  await (await r.project(project.project_id)).apply({ site: { replace: { "index.html": page(script.scriptTag()) } } });
  const good = await visit(url);
  assert.deepEqual(good.complaints, []);
  assert.equal(await good.page.evaluate(() => document.body.dataset.asset), "ran");
  assert.equal(await good.page.evaluate(() => getComputedStyle(document.querySelector("h1")).color), "rgb(1, 2, 3)");
  assert.ok(await good.page.evaluate(() => document.querySelector("img").naturalWidth === 1));

  const { page: tampered, complaints } = await tamper("**/_blob/asset-*.js", body.replace("ran", "rAn"));
  assert.equal(await tampered.evaluate(() => document.body.dataset.asset), undefined);
  assert.ok(complaints.some((text) => text.includes("integrity")), complaints.join("\n"));
});
