// App users in a browser: the hosted pages with and without JavaScript, passkeys with a virtual authenticator, and a
// todo app whose users cannot see each other's rows.

import assert from "node:assert/strict";
import { mkdir } from "node:fs/promises";
import { request } from "node:http";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { chromium } from "playwright-core";
import { API, siteOrigin, subscriber } from "./harness.mjs";

const SHOTS = process.env.RUN402_TEST_SCREENSHOTS;
const PASSWORD = "correct horse battery";

let browser, r, project, origin;

const PAGE = `<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Todos</title><link rel="icon" href="data:,"></head>
<body><h1>Todos</h1><p id="who"></p><ul id="rest"></ul><ul id="function"></ul>
<form id="add"><label>What <input name="what"></label><button>Add</button></form>
<script src="/app.js"></script></body></html>`;
const APP = (anonKey, api) => `
const show = (id, rows) => {
  document.getElementById(id).replaceChildren(...rows.map(({ what }) => Object.assign(document.createElement("li"), { textContent: what })));
};
const load = async () => {
  const { user } = await (await fetch("/auth/v1/session")).json();
  document.getElementById("who").textContent = user?.email ?? "nobody";
  const answer = await fetch("/api/todos");
  document.body.dataset.status = answer.status;
  show("function", answer.ok ? await answer.json() : []);
  const token = sessionStorage.getItem("token");
  if (token) {
    const rows = await fetch("${api}/rest/v1/todos?select=what&order=id", { headers: { apikey: "${anonKey}", authorization: "Bearer " + token } });
    show("rest", await rows.json());
  }
  document.body.dataset.loaded = String(Number(document.body.dataset.loaded ?? 0) + 1);
};
document.getElementById("add").addEventListener("submit", async (event) => {
  event.preventDefault();
  const what = new FormData(event.target).get("what");
  await fetch("/api/todos", { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ what }) });
  await load();
});
load();`;
// The visitor's own token is what the function asks the database with.
const FUNCTION = `
export default async (request) => {
  const token = request.headers.get("x-run402-actor-token");
  if (!token) return Response.json({ error: "sign in" }, { status: 401 });
  const headers = {
    apikey: process.env.RUN402_ANON_KEY, authorization: "Bearer " + token, "content-type": "application/json",
  };
  const url = process.env.RUN402_API_BASE + "/rest/v1/todos";
  if (request.method === "POST") {
    const { what } = await request.json();
    const made = await fetch(url, { method: "POST", headers, body: JSON.stringify({ what }) });
    return new Response(null, { status: made.status });
  }
  const rows = await fetch(url + "?select=what&order=id", { headers });
  return Response.json(await rows.json(), { status: rows.status });
};`;

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
  project = await r.projects.provision({ name: "Todo Club" });
  const site = siteOrigin("todo");
  const deployed = await (await r.project(project.project_id)).apply({
    database: {
      migrations: [{ id: "001", sql: "create table todos (id serial primary key, what text not null, owner uuid default auth.uid())" }],
      expose: {
        version: "1",
        tables: [{ name: "todos", expose: true, policy: "user_owns_rows", owner_column: "owner", force_owner_on_insert: true }],
      },
    },
    site: { replace: { "index.html": PAGE, "app.js": APP(project.anon_key, API) } },
    functions: { replace: { todos: { source: FUNCTION } } },
    routes: { replace: [{ pattern: "/api/todos", methods: ["GET", "POST"], target: { type: "function", name: "todos" } }] },
    subdomains: { set: [site.name] },
  });
  assert.equal(deployed.release_id.startsWith("rel_"), true);
  origin = site.origin;
});

after(() => browser?.close());

/** A browser of its own, whose pages complain here. */
async function person(options = {}) {
  const context = await browser.newContext(options);
  const page = await context.newPage();
  page.complaints = [];
  page.on("console", (message) => message.type() === "error" && page.complaints.push(message.text()));
  page.on("pageerror", (error) => page.complaints.push(String(error)));
  return page;
}

/** A device that confirms every ceremony. */
async function withAuthenticator(page) {
  const session = await page.context().newCDPSession(page);
  await session.send("WebAuthn.enable");
  const { authenticatorId } = await session.send("WebAuthn.addVirtualAuthenticator", {
    options: {
      protocol: "ctap2", transport: "internal", hasResidentKey: true, hasUserVerification: true, isUserVerified: true,
      automaticPresenceSimulation: true,
    },
  });
  return { session, authenticatorId };
}

async function mailedLink(to) {
  const query = new URLSearchParams({ to, project_id: project.project_id });
  const response = await fetch(`${API}/admin/v1/mail/captured?${query}`, {
    headers: { "x-admin-key": process.env.RUN402_TEST_ADMIN_KEY },
  });
  const [mail] = (await response.json()).messages;
  return mail.text.match(/https?:\S+/)[0];
}

async function signUp(page, email, returnTo = "/") {
  await page.goto(`${origin}/auth/sign-up?returnTo=${encodeURIComponent(returnTo)}`);
  await page.getByLabel("E-mail").fill(email);
  await page.getByLabel("Password", { exact: true }).fill(PASSWORD);
  await page.getByRole("button", { name: "Create account" }).click();
  await page.waitForURL((url) => url.pathname === new URL(returnTo, origin).pathname);
}

const path = (page) => new URL(page.url()).pathname;

test("a person signs up, confirms the address, adds a passkey, comes back with it and removes it", async () => {
  const page = await person();
  const { session, authenticatorId } = await withAuthenticator(page);
  await signUp(page, "ann@example.com", "/auth/account");
  assert.match(await page.locator("main").innerText(), /ann@example\.com\s+Not confirmed yet/);

  await page.getByRole("button", { name: "Send a link to confirm it" }).click();
  await page.getByText("Look at your mail").waitFor();
  await page.goto(await mailedLink("ann@example.com"));
  await page.getByRole("button", { name: "Continue" }).click();
  await page.waitForURL(`${origin}/auth/account`);
  assert.match(await page.locator("main").innerText(), /ann@example\.com\s+Confirmed/);

  await page.getByRole("link", { name: "Add a passkey" }).click();
  await page.getByRole("button", { name: "Add a passkey" }).click();
  await page.waitForURL(`${origin}/auth/account`);
  const { credentials } = await session.send("WebAuthn.getCredentials", { authenticatorId });
  assert.equal(credentials.length, 1);
  assert.equal(credentials[0].rpId, new URL(origin).hostname);
  assert.match(await page.locator("main").innerText(), /Passkey\s+Added/);

  await page.getByRole("link", { name: "Sign out", exact: true }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(`${origin}/`);
  await page.goto(`${origin}/auth/account`);
  assert.equal(path(page), "/auth/sign-in");

  await page.getByRole("link", { name: "Use a passkey" }).click();
  await page.getByRole("button", { name: "Use a passkey" }).click();
  await page.waitForURL(`${origin}/auth/account`);
  const { csrf_token: csrf, user } = await page.evaluate(async () => (await fetch("/auth/v1/session")).json());
  assert.equal(user.email, "ann@example.com");

  // Re-authentication: a page of the app asks for it; a wrong password is told, the right one goes on.
  await page.goto(`${origin}/auth/re-auth?returnTo=%2Fauth%2Faccount`);
  await page.getByLabel("Password").fill("not it at all");
  await page.getByRole("button", { name: "Confirm" }).click();
  assert.match(await page.getByRole("alert").innerText(), /wrong/);
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Confirm" }).click();
  await page.waitForURL(`${origin}/auth/account`);
  const renewed = await page.evaluate(async () => (await fetch("/auth/v1/session")).json());
  assert.equal(typeof renewed.csrf_token, "string");
  assert.ok(renewed.csrf_token.length === csrf.length);

  await page.getByRole("button", { name: /Remove the passkey/ }).click();
  await page.waitForURL(`${origin}/auth/account?done=passkey`);
  assert.match(await page.getByRole("status").innerText(), /removed/);
  assert.equal(await page.getByRole("button", { name: /Remove the passkey/ }).count(), 0);

  // The authenticator still has it; the site does not take it any more.
  await page.context().clearCookies();
  await page.goto(`${origin}/auth/passkeys/login`);
  await page.getByRole("button", { name: "Use a passkey" }).click();
  await page.locator("#problem:not([hidden])").waitFor();
  assert.match(await page.getByRole("alert").innerText(), /not known/);
  assert.deepEqual(page.complaints.filter((text) => !/status of 40[01]/.test(text)), []);
});

test("every form works without JavaScript", async () => {
  const page = await person({ javaScriptEnabled: false });
  await signUp(page, "plain@example.com", "/auth/account");
  await page.getByText("Change your password").click();
  await page.getByLabel("Current password").fill(PASSWORD);
  await page.getByLabel("New password").fill("another good one");
  await page.getByRole("button", { name: "Change password" }).click();
  await page.waitForURL(`${origin}/auth/account?done=password`);
  await page.getByRole("link", { name: "Sign out", exact: true }).click();
  await page.getByRole("button", { name: "Sign out" }).click();
  await page.waitForURL(`${origin}/`);
  await page.goto(`${origin}/auth/sign-in?returnTo=%2Fauth%2Faccount`);
  await page.getByLabel("E-mail", { exact: true }).fill("plain@example.com");
  await page.getByLabel("Password").fill(PASSWORD);
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  assert.match(await page.getByRole("alert").innerText(), /wrong/);
  assert.equal(await page.getByLabel("E-mail", { exact: true }).inputValue(), "plain@example.com");
  await page.getByLabel("Password").fill("another good one");
  await page.getByRole("button", { name: "Sign in", exact: true }).click();
  await page.waitForURL(`${origin}/auth/account`);
  await page.getByRole("button", { name: "Sign out everywhere" }).click();
  await page.goto(`${origin}/auth/account`);
  assert.equal(path(page), "/auth/sign-in");
  await page.getByText("Sign in with a link by e-mail").click();
  await page.getByLabel("E-mail for the link").fill("plain@example.com");
  await page.getByRole("button", { name: "Send me a link" }).click();
  await page.goto(await mailedLink("plain@example.com"));
  await page.getByRole("button", { name: "Continue" }).click();
  await page.waitForURL(`${origin}/auth/account`);
});

test("two users of a todo app cannot see each other's rows", async () => {
  const open = async (email, todos) => {
    const page = await person();
    await signUp(page, email);
    const login = await fetch(`${API}/auth/v1/token`, {
      method: "POST",
      headers: { "content-type": "application/json", apikey: project.anon_key },
      body: JSON.stringify({ email, password: PASSWORD }),
    });
    const { access_token: token } = await login.json();
    await page.evaluate((value) => sessionStorage.setItem("token", value), token);
    await page.reload();
    for (const [index, what] of todos.entries()) {
      await page.getByLabel("What").fill(what);
      await page.getByRole("button", { name: "Add" }).click();
      await page.locator("#function li").nth(index).waitFor();
    }
    return page;
  };
  const ann = await open("ann.todo@example.com", ["buy milk", "call Bob"]);
  const bob = await open("bob.todo@example.com", ["water the plants"]);
  await ann.reload();
  await ann.locator("#rest li").nth(1).waitFor();
  const seen = async (page, id) => page.locator(`#${id} li`).allInnerTexts();
  for (const [page, email, rows] of [
    [ann, "ann.todo@example.com", ["buy milk", "call Bob"]],
    [bob, "bob.todo@example.com", ["water the plants"]],
  ]) {
    await page.locator("#rest li").first().waitFor();
    assert.equal(await page.locator("#who").innerText(), email);
    assert.deepEqual(await seen(page, "function"), rows, "through the function");
    assert.deepEqual(await seen(page, "rest"), rows, "through REST");
  }
  // Signed out: the function knows nobody.
  await ann.goto(`${origin}/auth/sign-out`);
  await ann.getByRole("button", { name: "Sign out" }).click();
  await ann.waitForURL(`${origin}/`);
  await ann.locator("body[data-status='401']").waitFor();
  assert.deepEqual(await seen(ann, "function"), []);
  // Another site cannot have the browser post with the cookie.
  const [cookie] = (await bob.context().cookies()).filter(({ name }) => name === "r402_session");
  const forged = await post("/api/todos", {
    origin: "https://evil.example", "content-type": "application/json", cookie: `${cookie.name}=${cookie.value}`,
  }, JSON.stringify({ what: "evil" }));
  assert.equal(forged.status, 403);
  assert.equal(JSON.parse(forged.body).code, "R402_AUTH_CSRF_ORIGIN_MISMATCH");
});

/** A request to the site from outside a browser; Node does not resolve names below localhost. */
function post(path, headers, body) {
  const { hostname, port } = new URL(API);
  return new Promise((resolve, reject) => {
    const call = request({ hostname, port, path, method: "POST", headers: { host: new URL(origin).host, ...headers } }, (answer) => {
      let text = "";
      answer.setEncoding("utf8").on("data", (part) => (text += part)).on("end", () => resolve({ status: answer.statusCode, body: text }));
    });
    call.on("error", reject).end(body);
  });
}

/** Contrast of two colours as browsers give them (WCAG 2.2 §1.4.3). */
const CONTRAST = () => {
  const canvas = Object.assign(document.createElement("canvas"), { width: 1, height: 1 });
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const rgb = (color) => {
    context.clearRect(0, 0, 1, 1);
    context.fillStyle = color;
    context.fillRect(0, 0, 1, 1);
    return [...context.getImageData(0, 0, 1, 1).data];
  };
  const light = (color) => {
    const [red, green, blue] = rgb(color).map((value) => value / 255).map((c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue;
  };
  const back = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if (rgb(color)[3] === 255) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const poor = [];
  for (const element of document.querySelectorAll("body *")) {
    const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.textContent.trim());
    if (!text || !element.checkVisibility() || element.matches("script, style, noscript *")) continue;
    const [one, other] = [light(getComputedStyle(element).color), light(back(element))].sort((a, b) => b - a);
    const contrast = (one + 0.05) / (other + 0.05);
    if (contrast < 4.5) poor.push(`${element.tagName} "${element.textContent.trim()}" ${contrast.toFixed(2)}`);
  }
  return poor;
};

for (const colorScheme of ["light", "dark"]) {
  test(`the hosted pages are readable and whole in ${colorScheme}`, async () => {
    const page = await person({ colorScheme });
    const shoot = async (name) => {
      await page.setViewportSize({ width: 800, height: 700 });
      assert.deepEqual(await page.evaluate(CONTRAST), [], `${name}: contrast`);
      // Every field and button has a name, every page a heading and a language.
      const nameless = await page.evaluate(() =>
        [...document.querySelectorAll("input:not([type=hidden], [hidden]), button, a")]
          .filter((one) => !(one.labels?.length || one.textContent.trim() || one.ariaLabel))
          .map((one) => one.outerHTML));
      assert.deepEqual(nameless, [], `${name}: names`);
      assert.equal(await page.locator("h1").count(), 1);
      assert.equal(await page.locator("html").getAttribute("lang"), "en");
      if (SHOTS) {
        await mkdir(SHOTS, { recursive: true });
        await page.screenshot({ path: join(SHOTS, `auth-${name}-${colorScheme}.png`), fullPage: true });
      }
      await page.setViewportSize({ width: 320, height: 700 });
      assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), `${name}: narrow`);
      if (SHOTS && colorScheme === "light") {
        await page.screenshot({ path: join(SHOTS, `auth-${name}-phone.png`), fullPage: true });
      }
    };
    const email = `${colorScheme}@example.com`;
    await page.goto(`${origin}/auth/sign-in`);
    await shoot("sign-in");
    await page.getByLabel("E-mail", { exact: true }).fill(email);
    await page.getByLabel("Password").fill("wrong");
    await page.getByRole("button", { name: "Sign in", exact: true }).click();
    await shoot("sign-in-wrong");
    await page.goto(`${origin}/auth/sign-up`);
    await shoot("sign-up");
    await page.goto(`${origin}/auth/passkeys/login`);
    await shoot("passkey-login");
    await page.goto(`${origin}/auth/magic-link?token=unknown`);
    await shoot("error");
    await page.goto(`${API}/auth/v1/oauth/google/callback?state=unknown`);
    await shoot("google-lost");
    await signUp(page, email, "/auth/account");
    await page.getByText("Change your password").click();
    await withAuthenticator(page);
    await page.goto(`${origin}/auth/passkeys/register?returnTo=%2Fauth%2Faccount`);
    await shoot("passkey-register");
    await page.getByRole("button", { name: "Add a passkey" }).click();
    await page.waitForURL(`${origin}/auth/account`);
    const other = await person({ userAgent: "Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18 Safari/604.1" });
    await other.goto(`${origin}/auth/sign-in`);
    await other.getByLabel("E-mail", { exact: true }).fill(email);
    await other.getByLabel("Password").fill(PASSWORD);
    await other.getByRole("button", { name: "Sign in", exact: true }).click();
    await other.waitForURL(`${origin}/`);
    await page.reload();
    await page.getByText("Change your password").click();
    await shoot("account");
    await page.goto(`${origin}/auth/re-auth?returnTo=%2Fauth%2Faccount`);
    await shoot("re-auth");
    await page.goto(`${origin}/auth/sign-out`);
    await shoot("sign-out");
    await page.goto(`${origin}/auth/account`);
    await page.getByRole("button", { name: "Send a link to confirm it" }).click();
    await page.getByText("Look at your mail").waitFor();
    await shoot("magic-link-sent");
    await page.goto(await mailedLink(email));
    await shoot("magic-link");
    assert.deepEqual(page.complaints.filter((text) => !/status of 40[01]/.test(text)), []);
  });
}
