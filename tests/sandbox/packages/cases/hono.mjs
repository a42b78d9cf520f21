import assert from 'node:assert';
import { Hono } from 'hono';
import { bearerAuth } from 'hono/bearer-auth';
import { getCookie, setCookie } from 'hono/cookie';
import { cors } from 'hono/cors';
import { HTTPException } from 'hono/http-exception';
import { sign, verify } from 'hono/jwt';
import { streamText } from 'hono/streaming';

export async function routes_middleware_and_errors() {
  const app = new Hono();
  app.use('*', cors({ origin: 'https://a.test' }));
  app.use('/private/*', bearerAuth({ token: 'tok' }));
  app.get('/hello/:name', (c) => c.json({ hello: c.req.param('name'), q: c.req.query('q') }));
  app.post('/form', async (c) => c.text(String((await c.req.parseBody()).field)));
  app.get('/private/x', (c) => c.text('in'));
  app.get('/cookie', (c) => {
    setCookie(c, 'b', '2', { httpOnly: true, path: '/' });
    return c.text(getCookie(c, 'a') ?? 'none');
  });
  app.get('/stream', (c) =>
    streamText(c, async (stream) => {
      for (const part of ['one', 'two']) await stream.write(part);
    }),
  );
  app.get('/teapot', () => {
    throw new HTTPException(418, { message: 'short and stout' });
  });
  app.onError((error, c) => c.text(error.message, error instanceof HTTPException ? error.status : 500));
  const get = (path, headers = {}) => app.fetch(new Request(`https://x.test${path}`, { headers }));
  const hello = await get('/hello/w%C3%B6rld?q=1', { origin: 'https://a.test' });
  assert.deepEqual(await hello.json(), { hello: 'wörld', q: '1' });
  assert.equal(hello.headers.get('access-control-allow-origin'), 'https://a.test');
  const form = new FormData();
  form.set('field', 'value');
  assert.equal(await (await app.fetch(new Request('https://x.test/form', { method: 'POST', body: form }))).text(), 'value');
  assert.equal((await get('/private/x')).status, 401);
  assert.equal(await (await get('/private/x', { authorization: 'Bearer tok' })).text(), 'in');
  const cookie = await get('/cookie', { cookie: 'a=1' });
  assert.equal(await cookie.text(), '1');
  assert.deepEqual(cookie.headers.getSetCookie(), ['b=2; Path=/; HttpOnly']);
  assert.equal(await (await get('/stream')).text(), 'onetwo');
  const teapot = await get('/teapot');
  assert.deepEqual([teapot.status, await teapot.text()], [418, 'short and stout']);
  assert.equal((await get('/nowhere')).status, 404);
}

export async function tokens() {
  const token = await sign({ sub: 'u', exp: Math.floor(Date.now() / 1000) + 60 }, 'secret', 'HS256');
  assert.equal((await verify(token, 'secret', 'HS256')).sub, 'u');
  await assert.rejects(verify(token, 'other', 'HS256'));
}
