// App-user auth through the SDK's `auth.*`.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { API, failure, subscriber } from "./harness.mjs";

let r, id, project;

before(async () => {
  ({ r } = await subscriber());
  project = await r.projects.provision({ name: "auth" });
  id = project.project_id;
});

const PASSWORD = "correct horse";

async function post(path, body) {
  const response = await fetch(API + path, {
    method: "POST",
    headers: { "content-type": "application/json", apikey: project.anon_key },
    body: JSON.stringify(body),
  });
  return { status: response.status, body: await response.json() };
}

async function signUp(email) {
  assert.equal((await post("/auth/v1/signup", { email, password: PASSWORD })).status, 201);
  return logIn(email);
}

async function logIn(email) {
  const { status, body } = await post("/auth/v1/token?grant_type=password", { email, password: PASSWORD });
  assert.equal(status, 200);
  return body;
}

const claims = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url"));

async function mailedToken(to) {
  const query = new URLSearchParams({ to, project_id: id });
  const response = await fetch(`${API}/admin/v1/mail/captured?${query}`, {
    headers: { "x-admin-key": process.env.RUN402_TEST_ADMIN_KEY },
  });
  const [mail] = (await response.json()).messages;
  return new URL(mail.text.match(/https?:\S+/)[0]).searchParams.get("token");
}

test("a magic link is requested and verified once", async () => {
  await signUp("ann@example.com");
  const redirectUrl = "http://localhost:5173/cb";
  assert.deepEqual(
    await r.auth.requestMagicLink(id, { email: "ann@example.com", redirectUrl }),
    await r.auth.requestMagicLink(id, { email: "nobody@example.com", redirectUrl }),
  );
  const token = await mailedToken("ann@example.com");
  const session = await r.auth.verifyMagicLink(id, token);
  assert.equal(session.token_type, "bearer");
  assert.equal(session.magic_link.intent, "signin");
  assert.equal(session.magic_link.state_trusted, false);
  assert.deepEqual(claims(session.access_token).amr, ["magic_link"]);
  const error = await failure(r.auth.verifyMagicLink(id, token));
  assert.deepEqual([error.status, error.code], [401, "R402_AUTH_MAGIC_LINK_INVALID"]);
});

test("an invited user arrives with trusted state", async () => {
  const made = await r.auth.inviteUser(id, {
    email: "guest@example.com", redirectUrl: "http://localhost:5173/join", clientState: "team-7",
  });
  assert.deepEqual([made.created, made.invite_sent, made.is_admin], [true, true, false]);
  const session = await r.auth.verifyMagicLink(id, await mailedToken("guest@example.com"));
  assert.deepEqual(session.magic_link, {
    intent: "invite", client_state: "team-7", state_source: "service_key", state_trusted: true,
  });
});

test("settings, users and roles are managed with the service key", async () => {
  const settings = await r.auth.settings(id, { allow_password_set: true, allowed_email_domains: ["@Example.COM", "example.com"] });
  assert.deepEqual(settings, {
    allow_password_set: true, preferred_sign_in_method: null, public_signup: "open",
    require_passkey_for_project_admin: false, allowed_email_domains: ["example.com"],
  });
  assert.equal((await r.auth.createUser(id, { email: "boss@example.com", isAdmin: false })).created, true);
  await signUp("worker@example.com");
  await r.auth.promoteUser(id, "worker@example.com");
  const boss = await logIn("worker@example.com");
  assert.equal(claims(boss.access_token).role, "project_admin");
  await r.auth.demoteUser(id, "worker@example.com");
  assert.equal((await post("/auth/v1/token?grant_type=refresh_token", { refresh_token: boss.refresh_token })).status, 401);
  assert.equal(claims((await logIn("worker@example.com")).access_token).role, "authenticated");
  assert.equal((await failure(r.auth.promoteUser(id, "nobody@example.com"))).status, 404);
  await r.auth.settings(id, { public_signup: "invite_only" });
  assert.equal((await post("/auth/v1/signup", { email: "late@example.com", password: PASSWORD })).body.code, "SIGNUP_DISABLED");
  await r.auth.settings(id, { public_signup: "open" });
});

test("a password is changed with the current one", async () => {
  const { access_token: accessToken } = await signUp("pw@example.com");
  const wrong = await failure(r.auth.setUserPassword(id, { accessToken, newPassword: "another one", currentPassword: "nope nope" }));
  assert.deepEqual([wrong.status, wrong.code], [401, "R402_AUTH_INVALID_CREDENTIALS"]);
  await r.auth.setUserPassword(id, { accessToken, newPassword: "another one", currentPassword: PASSWORD });
  assert.equal((await post("/auth/v1/token", { email: "pw@example.com", password: "another one" })).status, 200);
});

test("providers and passkeys are told", async () => {
  const providers = await r.auth.providers(id);
  assert.equal(providers.password.enabled, true);
  assert.equal(providers.magic_link.enabled, true);
  assert.deepEqual(providers.oauth, [{ provider: "google", enabled: false, display_name: "Google" }]);
  const { access_token: accessToken } = await signUp("key@example.com");
  const registration = await r.auth.createPasskeyRegistrationOptions(id, { accessToken, appOrigin: "http://localhost:4321" });
  assert.equal(registration.options.rp.id, "localhost");
  const login = await r.auth.createPasskeyLoginOptions(id, { appOrigin: "http://localhost:4321", email: "key@example.com" });
  assert.deepEqual([login.options.rpId, login.options.allowCredentials], ["localhost", []]);
  assert.deepEqual((await r.auth.listPasskeys(id, { accessToken })).passkeys, []);
  const missing = await failure(r.auth.deletePasskey(id, { accessToken, passkeyId: "0b6b1d6e-0000-4000-8000-000000000000" }));
  assert.equal(missing.status, 404);
  const refused = await failure(r.auth.verifyPasskeyLogin(id, { challengeId: login.challenge_id, response: { id: "AAAA", rawId: "AAAA", type: "public-key", response: {} } }));
  assert.equal(refused.status, 401);
});
