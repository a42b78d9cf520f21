// What `@run402/functions` asks of the platform and what it gives back, as a table. The same cases run against the
// built-in module in the guest and against the npm package in Node (npm.mjs); transcript() is what both must agree on.
// Sentences of errors are compared only where the contract spells them (`exact`).
import { KEY, TOKENS } from './tokens.mjs';

const actor = { id: 'u1', email: 'e@x.test', emailVerified: true, authTime: 1000, amr: ['password'], amrTimes: { password: 1000 }, authzVersion: 1, sessionId: 's1' };
const now = () => Math.floor(Date.now() / 1000);
const context = (headers = {}, more = {}) => ({
  requestId: 'req_1',
  projectId: 'prj_1',
  releaseId: 'rel_1',
  locale: null,
  defaultLocale: null,
  host: 'site.test',
  request: { method: 'GET', url: 'https://site.test/a?b=1', headers },
  ...more,
});
const anonymous = context({}, { actor: null });
const signedIn = context({}, { actor });
const withToken = context({ 'x-run402-actor-token': 'TOK' }, { actor });
const routed = (headers = {}) => context(headers, { actor: null, invocationKind: 'routed_http' });

const json = (body, status = 200) => () => new Response(JSON.stringify(body), { status, headers: { 'content-type': 'application/json' } });
const plain = (body, status = 200) => () => new Response(body, { status });
const rows = json([{ a: 1 }]);
const failures = [
  json({ error: 'word', code: 'CODE', message: 'sentence', trace_id: 'trc' }, 403),
  json({ error: 'word' }, 500),
  json({ message: 'sentence' }, 500),
  json({ code: 'CODE' }, 400),
  json([1], 500),
  plain('text', 502),
  plain('', 500),
];

const list = [];
/** A case: `run(module)` inside `within` (a context) or outside of any, while the platform answers `answers` in turn. */
const test = (name, run, { within, answers = [rows], exact = false } = {}) => list.push({ name, run, within, answers, exact });
const eachFailure = (name, run, options) => failures.forEach((answer, n) => test(`${name}, failure ${n + 1}`, run, { ...options, answers: [answer], exact: true }));

// Tables
const query = (r) => r.db().from('t');
test('db select with everything', (r) => query(r).select().eq('a b', 1).neq('c', 'x').gt('d', 2).lt('d', 9).gte('e', 3).lte('e', 4).like('f', '%a%').ilike('g', 'b*').in('h', ['x,y', 2]).order('z', { ascending: false }).order('y').limit(3).offset(0));
test('db without select', query);
test('db table names are left alone', (r) => r.db().from('t x/y').select('a,b'));
test('db insert one', (r) => query(r).insert({ a: 1 }));
test('db insert many, select', (r) => query(r).insert([{ a: 1 }, { b: 2 }]).select('a'));
test('adminDb update', (r) => r.adminDb().from('t').update({ a: 2 }).eq('id', null));
test('adminDb delete', (r) => r.adminDb().from('t').delete().eq('id', true).neq('x', undefined));
for (const [count, answer] of [['no', json([])], ['one', rows], ['two', json([1, 2])]]) {
  test(`db single of ${count} row`, (r) => query(r).select().single(), { answers: [answer], exact: true });
  test(`db maybeSingle of ${count} row`, (r) => query(r).select().maybeSingle(), { answers: [answer], exact: true });
}
eachFailure('db', (r) => query(r).select());
test('each await runs a query again', async (r) => { const q = query(r).select(); return [await q, await q]; }, { answers: [rows, json([{ a: 2 }])] });
test('a table service that is away is asked again', (r) => query(r).select(), { answers: [plain('away', 503), rows] });
const incoming = (headers) => new Request('http://x.test/', { headers });
test('db(req) forwards credentials', (r) => r.db(incoming({ authorization: 'Bearer U' })).from('t').select());
test('db(req) takes the token of the actor', (r) => r.db(incoming({ 'x-run402-actor-token': 'T' })).from('t').select());
test('db(req) prefers credentials', (r) => r.db(incoming({ 'x-run402-actor-token': 'T', authorization: 'Bearer U' })).from('t').select());
test('db(req) of nobody', (r) => r.db(incoming({})).from('t').select());
test('db() in a context', query, { within: context({ authorization: 'Bearer C' }, { actor: null }) });
test('db() in a context with a token', query, { within: context({ authorization: 'Bearer C', 'x-run402-actor-token': 'T' }, { actor }) });
test('db() of an actor without a token', query, { within: context({ authorization: 'Bearer C' }, { actor }) });
test('db() after the request', query, { within: context({ authorization: 'Bearer C' }, { actor: null, active: { value: false } }) });
test('QueryBuilder by hand', (r) => new r.QueryBuilder('t', { apikey: 'K', authorization: undefined, basePath: '/p' }).select());
test('QueryBuilder members', (r) => Object.getOwnPropertyNames(r.QueryBuilder.prototype).sort());
const envelope = json({ status: 'ok', schema: 's', rows: [{ n: 1 }], row_count: 1, fields: [{ name: 'n', type: 'int4' }] });
test('sql', (r) => r.adminDb().sql('select 1'), { answers: [envelope] });
test('sql with parameters', (r) => r.adminDb().sql('select $1', [1, 'x', null]), { answers: [envelope] });
test('sql with no parameters', (r) => r.adminDb().sql('select 1', []), { answers: [envelope] });
eachFailure('sql', (r) => r.adminDb().sql('selec'));

// E-mail
const box = (id, more = {}) => ({ mailbox_id: id, ...more });
const send = (r) => r.email.send({ to: 'a@b.test', subject: 's', html: '<p>' });
for (const [name, listing] of Object.entries({
  'no mailbox': { mailboxes: [] },
  'two mailboxes': { mailboxes: [box('mbx_1'), box('mbx_2')] },
  'a default that is not there': { mailboxes: [box('mbx_1')], mailbox_settings: { default_outbound_mailbox_id: 'mbx_9' } },
  'a suspended default': { mailboxes: [box('mbx_1', { status: 'suspended' })], mailbox_settings: { default_outbound_mailbox_id: 'mbx_1' } },
  'a suspended mailbox': { mailboxes: [box('mbx_1', { status: 'suspended' })] },
  'a mailbox that cannot send': { mailboxes: [box('mbx_1', { can_send: false })] },
  'a blocked mailbox': { mailboxes: [box('mbx_1', { can_send: false, send_blocked_reason: 'provider_not_configured' })] },
  'no provider': { mailboxes: [box('mbx_1', { can_send: false })], provider_readiness: { status: 'not_configured' } },
})) test(`email with ${name}`, send, { answers: [json(listing)] });
eachFailure('email listing', send);
const outbound = json({ mailboxes: [box('mbx_1'), box('mbx_2')], mailbox_settings: { default_outbound_mailbox_id: 'mbx_2' } });
test('email from the default mailbox', send, { answers: [outbound, json({ message_id: 'm1' })] });
test('email by a template', (r) => r.email.send({ to: 'a@b.test', template: 't', variables: { a: 'b' }, from_name: 'F' }), { answers: [json({ id: 'm' })] });
test('email by a bare template', (r) => r.email.send({ to: 'a@b.test', template: 't' }), { answers: [json({ id: 'm' })] });
test('email with text', (r) => r.email.send({ to: 'a@b.test', subject: 's', html: 'h', text: 't', from_name: 'F', extra: 1 }), { answers: [json({ id: 'm' })] });
eachFailure('email', send);

// AI
test('ai translate', (r) => r.ai.translate('x', 'de'), { answers: [json({ text: 'y' })] });
test('ai translate with options', (r) => r.ai.translate('x', 'de', { from: 'en', context: 'c' }), { answers: [json({ text: 'y' })] });
test('ai moderate', (r) => r.ai.moderate('x'), { answers: [json({ flagged: false })] });
test('ai image', (r) => r.ai.generateImage({ prompt: ' x ' }), { answers: [json({ image: 'aa' })] });
test('ai image with aspect', (r) => r.ai.generateImage({ prompt: 'x', aspect: 'landscape' }), { answers: [json({ image: 'aa' })] });
for (const options of [{ prompt: ' ' }, { prompt: 'x', aspect: 'big' }, undefined, { prompt: 5 }]) test(`ai image of ${JSON.stringify(options)}`, (r) => r.ai.generateImage(options));
eachFailure('ai translate', (r) => r.ai.translate('x', 'de'));
eachFailure('ai moderate', (r) => r.ai.moderate('x'));
eachFailure('ai image', (r) => r.ai.generateImage({ prompt: 'x' }));

// Assets
const stored = json({ key: 'a.txt', sha256: 'ff', size_bytes: 2, content_type: 'text/plain', visibility: 'public', immutable: true, url: 'u', cdn_url: 'c', sri: 's', etag: 'e', content_digest: 'd', width_px: 3, metadata: { q: 1 }, extra: 9, variants: { thumb: { width_px: 1, height_px: 2, sha256: 'aa', url: 'v' }, other: {} } });
const put = (...given) => (r) => r.assets.put(...given);
test('asset of text', put('a.txt', 'hü'), { answers: [stored] });
test('asset of bytes', put('a.bin', new Uint8Array([1, 2])), { answers: [stored] });
test('asset of content', put('a.json', { content: '{}' }), { answers: [stored] });
test('asset of wrapped bytes', put('a.PNG', { bytes: new Uint8Array([3]) }), { answers: [stored] });
test('asset with options', put('x', 'hi', { contentType: 'x/y', visibility: 'private', immutable: false, metadata: { a: 'ü', b: 1, c: true, d: ['x'], e: null }, exifPolicy: 'strip' }), { answers: [stored] });
for (const name of 'a.html a.css a.js a.mjs a.jpeg a.gif a.webp a.svg a.pdf a.md a.csv a.zip a.gz a.mp4 a'.split(' ')) test(`asset type of ${name}`, put(name, 'x'), { answers: [stored] });
for (const given of [['', 'x'], [null, 'x'], ['a', ''], ['a', {}], ['a', null], ['a', 5], ['a', { content: '' }]]) test(`asset of ${JSON.stringify(given)}`, put(...given));
for (const metadata of [[], 'x', null, { a: {} }, { a: [1] }, { a: 'x'.repeat(5000) }]) test(`asset metadata ${JSON.stringify(metadata).slice(0, 20)}`, async (r) => refusal(put('a', 'x', { metadata })(r)));
test('asset metadata NaN', (r) => refusal(put('a', 'x', { metadata: { a: Number.NaN } })(r)));
test('asset exif policy', (r) => refusal(put('a', 'x', { exifPolicy: 'zz' })(r)));
test('a bare asset', put('a', 'x'), { answers: [json({ key: 'a', sha256: 'ff', size_bytes: 2, content_type: 't', visibility: 'public', immutable: false })] });
test('an empty asset answer', put('a', 'x'), { answers: [json({})] });
eachFailure('asset put', put('a', 'x'));
const listed = json({ blobs: [{ key: 'a', size_bytes: 1, content_type: 't', sha256: 'ff', visibility: 'private', immutable_suffix: 'x', created_at: '2030', updated_at: '2031', metadata: { a: 1 }, width_px: 1, extra: 1 }], next_cursor: 'c' });
test('asset list', (r) => r.assets.list(), { answers: [listed] });
test('asset list with options', (r) => r.assets.list({ prefix: 'p', limit: 5, cursor: 'c', sort: 'key:asc' }), { answers: [listed] });
test('asset list with filters', (r) => r.assets.list({ sort: 'createdAt:desc', filter: { uploaded_by: 'u', tag: 't', format: 'png', is_image: true, min_width: 1, max_width: 2, min_height: 3, max_height: 4 } }), { answers: [listed] });
for (const options of [{ sort: 'x' }, { filter: { nope: 1 } }, { filter: { is_image: 'x' } }, { filter: { min_width: 'a' } }]) test(`asset list of ${JSON.stringify(options)}`, (r) => refusal(r.assets.list(options)));
eachFailure('asset list', (r) => r.assets.list());
for (const given of [null, [], 'x', {}, { key: 'a', url: 'u', immutable_url: 'iu', cdn_url: 'cu', cdn_immutable_url: 'ciu', size_bytes: 3, content_type: 't', sha256: 's', other: 1, visibility: 'private', width_px: 1, immutable: true }]) test(`asset from ${JSON.stringify(given)}`, (r) => r.assets.fromRef(given));

// Cache
const dropped = json({ deleted: 1, generation: 5, host: 'h', path: '/p', results: [{ deleted: 1, generation: '12345678901234567890' }] });
for (const target of ['https://H.test:8080/a b?x=1#f', new URL('https://h.test:443/a'), '/a', 'a', '', 5]) test(`cache invalidate ${String(target)}`, (r) => r.cache.invalidate(target), { answers: [dropped] });
test('cache invalidate a path', (r) => r.cache.invalidate('/a?b=1'), { within: anonymous, answers: [dropped] });
test('cache invalidate a path after the request', (r) => r.cache.invalidate('/a'), { within: context({}, { actor: null, active: { value: false } }), answers: [dropped] });
test('cache prefix', (r) => r.cache.invalidatePrefix({ host: 'H.test', prefix: '/a' }), { answers: [dropped] });
test('cache prefix without slash', (r) => r.cache.invalidatePrefix({ host: 'h', prefix: 'a' }));
test('cache prefix without host', (r) => r.cache.invalidatePrefix({}));
test('cache all', (r) => r.cache.invalidateAll({ host: 'H.test' }), { answers: [dropped] });
test('cache many', (r) => r.cache.invalidateMany(['/a', 'https://h.test/a', new URL('http://k.test/b')]), { within: anonymous, answers: [dropped] });
test('cache many of none', (r) => r.cache.invalidateMany([]));
test('cache generations are digits too', (r) => r.cache.invalidateAll({ host: 'h' }), { answers: [json({ deleted: 0, generation: '12345678901234567890', host: 'h' })] });
test('cache of another project', (r) => r.cache.invalidate('https://h.test/a'), { answers: [json({ error: 'x', host: 'other.test' }, 403)] });
test('cache of another project, unnamed', (r) => r.cache.invalidatePrefix({ host: 'h.test', prefix: '/' }), { answers: [json({ error: 'x' }, 403)] });
test('cache failure', (r) => r.cache.invalidateAll({ host: 'h' }), { answers: [plain('no', 500)], exact: true });

// Events
test('event', (r) => r.events.emit('a_b'), { answers: [json({ cursor: 'evc_1' }, 201)] });
test('event with payload', (r) => r.events.emit('a_b', { x: 1 }, { idempotencyKey: 'k' }), { answers: [json({ cursor: 'evc_1' })] });
for (const [n, answer] of [json({ error: 'e', code: 'C', message: 'm', details: { a: 1 }, next_actions: [1] }, 403), json({ error: 'e' }, 403), json({ message: 'm' }, 400), plain('text', 500)].entries()) test(`event, failure ${n + 1}`, (r) => r.events.emit('a'), { answers: [answer], exact: true });

// Runs
const parts = [['a', 'b c', 1, true], [null, 'x', undefined, '', 0, false], [], [''], ['a:b/c']];
for (const given of parts) test(`idempotency of ${JSON.stringify(given)}`, (r) => r.functions.idempotency.fromParts(...given));
const inRun = context({ 'x-run402-run-id': 'R', 'x-run402-attempt-id': 'A' }, { actor: null });
const made = json({ run_id: 'fnrun_1', deduplicated: false }, 202);
const create = (options, name = 'w') => (r) => r.functions.runs.create(name, options);
const basic = { eventType: 'e', idempotencyKey: 'k' };
test('run outside a request', create(basic));
test('run', create(basic), { within: anonymous, answers: [made] });
test('run of a run', create(basic), { within: inRun, answers: [made] });
test('run of another name', create(basic, 'a/b'), { within: inRun, answers: [made] });
test('run after the request', create(basic), { within: context({}, { actor: null, active: { value: false } }) });
test('run without a project', create(basic), { within: context({}, { actor: null, projectId: '' }) });
for (const more of [
  { payload: { a: 1 } }, { payload: [] }, { payload: 'x' }, { payload: null }, { eventType: '' }, { eventType: 5 }, { idempotencyKey: '' }, { idempotencyKey: undefined },
  { runAt: '2030-01-01T00:00:00+01:00' }, { runAt: new Date(0) }, { runAt: 'zz' }, { delay: '10m' }, { delay: '1.5h' }, { delay: '3d' }, { delay: '500ms' }, { delay: '30s' }, { delay: 90 }, { delay: 1.2 }, { delay: 0 },
  { delay: -1 }, { delay: 'x' }, { delay: '2w' }, { delay: '30' }, { delaySeconds: 5 }, { delaySeconds: 5.5 }, { delaySeconds: -5 }, { delaySeconds: 5, delay: 3 }, { delaySeconds: 5, runAt: new Date(0) },
  { expiresAt: new Date(0) }, { expiresAt: '2999-01-01T00:00:00Z' }, { expiresAfter: 0 }, { runAt: '2030-01-01T00:00:00Z', expiresAfter: '1h' },
  { retry: { preset: 'standard', maxAttempts: 3, minDelaySeconds: 1, maxDelaySeconds: 9, other: 1 } }, { retry: { max_attempts: 3 } }, { retry: {} },
]) test(`run with ${JSON.stringify(more)}`, create({ ...basic, ...more }), { within: inRun, answers: [made] });
test('run without options', create(undefined), { within: inRun });
for (const [n, answer] of [json({ error: 'e', code: 'C', message: 'm' }, 409), json({ error: 'e' }, 400), json({ message: 'm' }, 400), plain('text', 500)].entries()) test(`run, failure ${n + 1}`, create(basic), { within: inRun, answers: [answer], exact: true });
const run = { trigger: 'function_run', run_id: 'fnrun_1', generation: 1, event_type: 'e', idempotency_key: 'k', run_at: '2030-01-01T00:00:00+02:00', attempt: { attempt_id: 'a', number: 1, max: 3 }, source: { type: 'api', z: 1 }, payload: { a: 1 }, extra: 1 };
test('envelope', (r) => [r.parseFunctionRunEnvelope(run), r.isFunctionRun(run)]);
for (const [key, value] of [['trigger', 'x'], ['run_id', ''], ['run_id', 5], ['generation', 0], ['generation', 1.5], ['generation', '1'], ['event_type', ''], ['idempotency_key', ''], ['run_at', 'zz'], ['run_at', 5], ['attempt', null], ['attempt', { number: 1, max: 3 }], ['attempt', { attempt_id: 'a', number: 0, max: 3 }], ['attempt', { attempt_id: 'a', number: 1, max: 0 }], ['source', null], ['source', {}], ['payload', null], ['payload', []], ['payload', undefined]]) {
  test(`envelope with ${key} ${JSON.stringify(value)}`, (r) => r.parseFunctionRunEnvelope({ ...run, [key]: value }));
}
for (const given of [null, 5, 'x', [], {}]) test(`envelope of ${JSON.stringify(given)}`, async (r) => [r.isFunctionRun(given), await r.parseFunctionRun(given)]);
const delivered = (body) => new Request('http://x.test/', { method: 'POST', body });
test('envelope of a request', (r) => r.parseFunctionRun(delivered(JSON.stringify(run))));
test('envelope of a request that is not JSON', (r) => r.parseFunctionRun(delivered('zz')));
const handlers = (r) => r.defineFunctionRuns({
  e: async (...given) => given, response: () => new Response('r', { status: 207 }), object: () => ({ a: 1 }), nothing: () => null, text: () => 'str', number: () => 5,
  permanent: () => { throw r.permanentFunctionRunError('pm'); }, permanent2: () => { throw r.permanentFunctionRunError('pm', 'cc', { d: 1 }); }, retry: () => { throw r.retryableFunctionRunError('rm'); }, error: () => { throw new RangeError('x'); },
  parse: { payload: { parse: (v) => ({ z: v.a }) }, run: (_, p) => p }, safe: { payload: { safeParse: () => ({ success: true, data: { q: 1 } }) }, run: (_, p) => p },
  unsafe: { payload: { safeParse: () => ({ success: false, error: new Error('bad') }) }, run: (_, p) => p }, throws: { payload: () => { throw new Error('nope'); }, run: (_, p) => p }, bare: { run: (_, p) => p }, later: { payload: async () => ({ as: 1 }), run: (_, p) => p },
});
for (const event of 'e response object nothing text number permanent permanent2 retry error parse safe unsafe throws bare later'.split(' ')) test(`run handler ${event}`, (r) => handlers(r)({ ...run, event_type: event }));
test('run handler of a request', (r) => handlers(r)(delivered(JSON.stringify({ ...run, event_type: 'object' }))));
for (const [what, given] of [['bad request', delivered('zz')], ['bad envelope', {}], ['unknown event', { ...run, event_type: 'unknown' }]]) {
  test(`run handler, ${what}`, async (r) => { const answer = await handlers(r)(given); const { message, ...body } = await answer.json(); return [answer.status, typeof message, body]; });
}
test('run errors', (r) => [new r.Run402FunctionRunInputError('m', 'f'), new r.Run402FunctionRunPlatformError(500, { code: 'C' }, 'm'), new r.Run402FunctionRunPlatformError(500, null, 'm'), new r.Run402EventsPlatformError(500, 'x', 'm'), new r.Run402FunctionRunFailure('m', { code: 'c', retryable: true, status: 503 })].map(described));

// Routed answers and the request's own headers
test('text', (r) => [r.text('hü'), r.text('h', { status: 201, headers: [['Content-Type', 'x'], ['a', 'b']], cookies: ['c=1'] })]);
test('json', (r) => [r.json({ a: 1 }), r.json([1], { headers: [['a', 'b']] })]);
test('bytes', (r) => [r.bytes(new Uint8Array([1, 2, 3])), r.bytes('x', { status: 202 }), r.bytes(new ArrayBuffer(2))]);
test('routedHttp members', (r) => Object.keys(r.routedHttp));
test('isRequest', (r) => [{ version: 'run402.routed_http.v1' }, { version: 'x' }, null, 5, 'x', {}].map(r.isRequest));
const told = { 'x-run402-request-id': ' r ', 'x-run402-project-id': 'p', 'x-run402-release-id': '', 'x-run402-host': 'h', 'x-run402-locale': 'en', 'x-run402-default-locale': 'de', 'x-run402-idempotency-key': 'k' };
test('getRun402Context', (r) => [r.getRun402Context(incoming(told)), r.getRun402Context(new Headers(told)), r.getRun402Context(told), r.getRun402Context({ 'X-Run402-Host': 'H' }), r.getRun402Context({}), r.getRun402Context(5)]);
const paid = { 'x-run402-payment-scheme': 'x402', 'x-run402-payment-id': 'pay_1', 'x-run402-payment-idempotency-key': 'k', 'x-run402-payment-deduplicated': 'false', 'x-run402-payment-delivery': 'first', 'x-run402-payment-amount-usd-micros': '5', 'x-run402-payment-payer': '0x', 'x-run402-payment-network': 'base', 'x-run402-payment-asset': 'usdc', 'x-run402-payment-pay-to': '0xp', 'x-run402-payment-transaction': '0xt', 'x-run402-payment-settled-at': '2030-01-01T00:00:00Z', 'x-run402-payment-context-expires-at': '2999-01-01T00:00:00Z' };
test('payment context', (r) => [r.getRoutedPaymentContext(incoming(paid)), r.getRoutedPaymentContext(incoming({})), r.getRoutedPaymentContext({ headers: Object.entries(paid) })]);
for (const name of Object.keys(paid)) test(`payment context without ${name}`, (r) => { const { [name]: _, ...rest } = paid; return r.getRoutedPaymentContext(incoming(rest)); });
const fulfilled = (r) => r.payment.fulfilled(new Response('x'));
const mode = 'x-run402-payment-receipt-mode';
test('fulfilled outside', fulfilled);
test('fulfilled directly', fulfilled, { within: anonymous });
test('fulfilled without price', fulfilled, { within: routed() });
test('fulfilled unsettled', fulfilled, { within: routed({ [mode]: 'on_fulfillment' }) });
test('fulfilled', fulfilled, { within: routed({ ...paid, [mode]: 'on_fulfillment' }) });
test('fulfilled late', fulfilled, { within: routed({ ...paid, [mode]: 'on_fulfillment', 'x-run402-payment-context-expires-at': '2020-01-01T00:00:00Z' }) });
const directive = Buffer.from(JSON.stringify({ version: 'run402.merchant_fulfillment.v1', claim: 'service_delivered', payment: { scheme: 'x402', paymentId: 'p', idempotencyKey: null, deduplicated: false, delivery: 'first', amountUsdMicros: 1, payer: null, network: 'n', asset: null, payTo: 'q', transaction: null, settledAt: '2030-01-01T00:00:00Z' } })).toString('base64url');
test('directives', (r) => [r.decodeMerchantFulfillmentDirective(directive), r.decodeMerchantFulfillmentDirective('zz'), r.consumeMerchantFulfillmentDirective({ status: 200, headers: [['a', 'b'], ['X-Run402-Merchant-Fulfillment', directive]] }), r.consumeMerchantFulfillmentDirective({ status: 200 })]);
test('a bad directive', (r) => r.consumeMerchantFulfillmentDirective({ status: 200, headers: [['x-run402-merchant-fulfillment', 'zz']] }));
test('payment names', (r) => [r.MERCHANT_FULFILLMENT_DIRECTIVE_HEADER, r.MERCHANT_RECEIPT_MODE_HEADER, [...r.PAYMENT_PRIMITIVES], Object.keys(r.payment)]);

// Webhooks
test('webhooks', async (r) => {
  const { createHmac } = await import('node:crypto');
  const sign = (at, body, secret) => `t=${at},v1=${createHmac('sha256', secret).update(`${at}.${body}`).digest('hex')}`;
  const good = sign(1000, 'b', 's');
  const check = (header, options = {}, body = 'b', secret = 's') => r.verifyWebhook(header, body, secret, { nowSeconds: () => 1000, ...options });
  const of = (text, ...rest) => check({ 'run402-signature': text }, ...rest);
  const zeros = '0'.repeat(64);
  return [
    check({ 'Run402-Signature': good }), check(new Headers({ 'run402-signature': good })), check(new Map([['run402-signature', good]])), check({ 'run402-signature': [good] }), check({}),
    of(''), of('zz'), of('t=1000'), of(`v1=${zeros}`), of(`t=x,v1=${zeros}`), of('t=1000,v1=abc'), of(`t=1000,v1=${zeros}`), of('t=,v1='), of(',,,'), of(`t=-1,v1=${zeros}`), of(`t=1000.5,v1=${zeros}`),
    of(sign(1000, 'b', 'old'), { previousSecret: 'old' }), of(sign(699, 'b', 's')), of(sign(700, 'b', 's')), of(sign(1300, 'b', 's')), of(sign(1301, 'b', 's')), of(sign(100, 'b', 's'), { toleranceSeconds: Number.POSITIVE_INFINITY }),
    of(`x=1, ${good} ,v0=q`), of(`${good},v1=${zeros}`), of(`v1=${zeros},${good}`), of(good, {}, 'b', ''), of(good, {}, 'c'),
  ];
});

// Context
test('context outside', (r) => [r.getCurrentContext(), r.als.getStore()]);
test('context required outside', (r) => r.requireActiveContext('x.y'));
test('context', (r) => { r.taintCacheBypass(); const c = r.getCurrentContext(); return [c, r.requireActiveContext('x') === c, r.als.getStore() === c]; }, { within: anonymous });
test('context after await', async (r) => { await null; await new Promise((done) => setTimeout(done, 1)); return r.getCurrentContext().requestId; }, { within: anonymous });
test('context required after the request', (r) => r.requireActiveContext('x.y'), { within: context({}, { actor: null, active: { value: false } }) });
test('taint after the request', (r) => { r.taintCacheBypass(); return r.getCurrentContext().cacheBypassTainted; }, { within: context({}, { actor: null, active: { value: false } }) });
test('withPaymentTaint', (r) => [r.withPaymentTaint('payment.fulfilled', (a) => a + 1)(2), r.getCurrentContext().cacheBypassTainted], { within: anonymous });
test('keys', async (r) => [await r.ensureProjectJwtKeysLoaded(), await r.ensureActorContextKeysLoaded()], { answers: [json({ keys: [KEY] }), json({ keys: { a1: 'BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=' } })] });

// Who asks
const user = (r) => r.auth.user();
for (const [name, token] of Object.entries(TOKENS)) test(`user by the token ${name}`, user, { within: context({ authorization: `Bearer ${token}` }, { actor: null }) });
test('user of a routed request by a token', user, { within: routed({ authorization: `Bearer ${TOKENS.good}` }) });
test('user outside', user);
test('user of a context', async (r) => [await r.auth.user(), r.getCurrentContext().cacheBypassTainted], { within: context({}, { actor: { ...actor, isTest: true }, invocationKind: 'routed_http' }) });
test('user after the request', user, { within: context({}, { actor, active: { value: false } }) });
test('nobody', (r) => r.auth.requireUser(), { within: routed() });
test('nobody outside', (r) => r.auth.requireUser());
test('somebody', (r) => r.auth.requireUser(), { within: signedIn });
const admin = (r) => r.auth.requireRole('admin');
test('role of nobody', admin, { within: routed() });
test('role without gate', admin, { within: signedIn });
test('role by gate', admin, { within: context({ 'x-run402-user-role': 'admin' }, { actor }) });
test('another role by gate', admin, { within: context({ 'x-run402-user-role': 'user' }, { actor }) });
const from = { table: 'members', idColumn: 'user_id', roleColumn: 'role' };
const fromTable = (r) => r.auth.requireRole('admin', { from });
for (const [name, answer] of [['admin', json([{ role: 'admin' }])], ['user', json([{ role: 'user' }])], ['nothing', json([])], ['a number', json([{ role: 5 }])]]) {
  test(`role by table, ${name}`, fromTable, { within: signedIn, answers: [answer] });
  test(`auth.role by table, ${name}`, (r) => r.auth.role({ from }), { within: signedIn, answers: [answer] });
}
test('role by a bad table', (r) => r.auth.requireRole('admin', { from: { ...from, table: 'a.b' } }), { within: signedIn });
test('role by table of nobody', fromTable, { within: routed() });
test('auth.role', (r) => r.auth.role(), { within: context({ 'x-run402-user-role': 'x' }, { actor }) });
test('auth.role without gate', (r) => r.auth.role(), { within: signedIn });
test('auth.role by table of nobody', (r) => r.auth.role({ from }), { within: routed() });
test('auth.role outside', (r) => r.auth.role());
test('membership', (r) => r.auth.requireMembership('m'), { within: signedIn });
test('membership of nobody', (r) => r.auth.requireMembership('m'), { within: routed() });
const seen = () => context({}, { actor: { ...actor, authTime: now() - 100, amrTimes: { password: now() - 100, passkey: now() - 5000 } } });
for (const options of [{ maxAge: '5m' }, { maxAge: '60' }, { maxAge: '1h30m' }, { maxAge: '10s' }, { maxAge: 'zz' }, { maxAge: 60 }, { maxAge: '1w' }, { maxAge: '200' }, { maxAge: '5m', amr: ['password'] }, { maxAge: '5m', amr: ['passkey'] }, { maxAge: '5m', amr: ['passkey', 'password'] }, { maxAge: '5m', amr: [] }]) {
  test(`fresh ${JSON.stringify(options)}`, (r) => r.auth.requireFresh(options), { within: seen() });
}
test('fresh of nobody', (r) => r.auth.requireFresh({ maxAge: '5m' }), { within: routed() });
test('csrf', (r) => [r.auth.csrfToken(), r.auth.csrfField()], { within: signedIn });
test('csrf of nobody', (r) => r.auth.csrfToken(), { within: anonymous });
test('invalid credentials', (r) => described(r.auth.invalidCredentials()));
for (const target of ['/x', 'x', '?q=1', 'https://site.test/y', new URL('https://site.test/z'), 'https://other.test/y', '//site.test/x', 'https://u:p@site.test/x', 'javascript:alert(1)', 'http://site.test/x', 'https://site.test:444/x', '', 'https://site.test.evil.test/x']) {
  test(`auth.fetch ${String(target)}`, (r) => r.auth.fetch(target), { within: context({ cookie: 'a=1', authorization: 'Bearer q' }, { actor }), answers: [plain('ok')] });
}
test('auth.fetch with options', (r) => r.auth.fetch('/x', { method: 'POST', body: 'b', headers: { cookie: 'z', a: 'b' }, redirect: 'follow' }), { within: anonymous, answers: [plain('ok')] });
test('auth.fetch outside', (r) => r.auth.fetch('/x'));
test('session by identity', (r) => r.auth.sessions.createResponseFromIdentity({ provider: 'wallet', subject: 's', proof: { kind: 'siwx' }, amr: ['x'] }), { within: signedIn, answers: [json({ ok: true })] });
test('session by a refused identity', (r) => r.auth.sessions.createResponseFromIdentity({ provider: 'wallet' }), { within: anonymous, answers: [json({ code: 'R402_AUTH_UNKNOWN_IDENTITY' }, 401)] });
test('session by identity outside', (r) => r.auth.sessions.createResponseFromIdentity({}));
test('session end', (r) => r.auth.sessions.endResponse(), { within: signedIn, answers: [json({})] });
const tenantUser = { id: '1', email: 'a@b.test', emailVerified: true };
const assert = (options) => (r) => r.auth.sessions.createResponseFromTenantAssertion(options);
test('tenant session', assert({ tenant: 't', user: tenantUser, method: 'password' }), { within: anonymous });
test('tenant session with everything', assert({ tenant: 't', user: { ...tenantUser, displayName: 'D', avatarUrl: 'A', other: 1 }, method: 'sso', advanced: { amr: ['x'] } }), { within: anonymous });
test('tenant session of a bare user', assert({ tenant: 't', user: { id: '1' }, method: 'sso' }), { within: anonymous });
for (const options of [undefined, { user: tenantUser, method: 'sso' }, { tenant: 't', method: 'sso' }, { tenant: 't', user: { ...tenantUser, id: '' }, method: 'sso' }, { tenant: 't', user: { ...tenantUser, id: 'a@b.test' }, method: 'sso' }, { tenant: 't', user: tenantUser, method: 'zz' }]) {
  test(`tenant session of ${JSON.stringify(options)}`, assert(options), { within: anonymous });
}
test('tenant session outside', assert({ tenant: 't', user: tenantUser, method: 'sso' }));
test('identities.link', (r) => r.auth.identities.link({}));
test('security', (r) => r.auth.account.getSecurity(), { within: withToken, answers: [json({ has_run402_password: true })] });
test('security without token', (r) => r.auth.account.getSecurity(), { within: signedIn });
test('security that fails', (r) => r.auth.account.getSecurity(), { within: withToken, answers: [json({}, 500)] });
test('required security that fails', (r) => r.auth.account.requireSecurity(), { within: withToken, answers: [json({}, 500)] });
test('password', (r) => r.auth.account.setPassword('new'), { within: withToken, answers: [plain('')] });
test('password without token', (r) => r.auth.account.setPassword('new'), { within: signedIn });
test('password outside', (r) => r.auth.account.setPassword('new'));
test('sign out everywhere', (r) => r.auth.account.signOutEverywhere(), { within: withToken, answers: [json({ revoked_count: 3 })] });
test('sign out everywhere, uncounted', (r) => r.auth.account.signOutEverywhere(), { within: withToken, answers: [json({})] });
const lists = [json({ passkeys: [1], identities: [2], sessions: [3] })];
test('passkeys', (r) => r.auth.account.passkeys.list(), { within: withToken, answers: lists });
test('no passkeys', (r) => r.auth.account.passkeys.list(), { within: withToken, answers: [json({})] });
test('passkey removal', (r) => r.auth.account.passkeys.remove('id'), { within: withToken, answers: lists });
test('passkey addition', (r) => r.auth.account.passkeys.add());
test('identities', (r) => r.auth.account.identities.list(), { within: withToken, answers: lists });
test('identity removal', (r) => r.auth.account.identities.unlink({ provider: 'google', subject: 's' }), { within: withToken, answers: lists });
test('identity link', (r) => r.auth.account.identities.startLink({ provider: 'google', redirectUrl: 'https://h/x' }), { within: withToken, answers: [json({ authorization_url: 'https://g' })] });
test('identity link in a popup', (r) => r.auth.account.identities.startLink({ provider: 'google', redirectUrl: 'https://h/x', mode: 'popup' }), { within: withToken, answers: [json({ authorization_url: 'https://g', expires_in: 5 })] });
test('identity link that fails', (r) => r.auth.account.identities.startLink({ provider: 'google', redirectUrl: 'https://h/x' }), { within: withToken, answers: [json({}, 400)] });
test('sessions', (r) => r.auth.account.sessions.list(), { within: withToken, answers: lists });
test('session removal', (r) => r.auth.account.sessions.revoke('sid'), { within: withToken, answers: lists });
test('account not fresh', (r) => r.auth.account.setPassword('new'), { within: withToken, answers: [json({ code: 'R402_AUTH_FRESHNESS_REQUIRED' }, 401)] });
test('account refused', (r) => r.auth.account.passkeys.remove('x'), { within: withToken, answers: [plain('x', 401)] });
for (const name of ['getUser', 'then', 'foo', 'session', 'logout', 'toString']) test(`auth.${name}`, (r) => typeof r.auth[name]);
test('auth.account.foo', (r) => r.auth.account.foo);
test('auth.sessions.foo', (r) => r.auth.sessions.foo);
test('auth symbols', (r) => [r.auth[Symbol.iterator], 'foo' in r.auth, 'user' in r.auth, Object.keys(r.auth).sort(), Object.keys(r.auth.account).sort(), Object.keys(r.auth.sessions).sort()]);
for (const name of ['getUser', 'getUserId', 'getRole', 'getSession', 'currentUser', 'getCurrentUser', 'getServerSession']) test(`${name}()`, (r) => r[name]());
test('auth errors', (r) => [new r.AuthRequiredError(), new r.AuthRequiredError({ returnTo: '/x' }), new r.InsufficientRoleError('a'), new r.InsufficientMembershipError('a'), new r.RoleGateNotConfiguredError('a'), new r.MembershipGateNotWiredError('a'), new r.FreshnessRequiredError({ maxAge: '5m', amr: ['x'] }), new r.FetchAbsoluteUrlError({ attempted: 'a', reason: 'b' }), new r.PrerenderedError({ sdkFunction: 'f' }), new r.UnknownExportError({ attemptedName: 'a', canonicalName: 'b' }), new r.SessionBridgeUnverifiedError({ reason: 'x' }), new r.IdentityLinkConflictError({ provider: 'p', subject: 's' }), new r.UnknownIdentityError({ provider: 'p', subject: 's' }), new r.InvalidCredentialsError(), new r.TenantSubjectInvalidError({ reason: 'x' }), new r.RenamedExportError({ oldName: 'a', newName: 'b' })].map((e) => [described(e), e instanceof r.Run402AuthError]));
test('the exports', (r) => Object.keys(r).sort());

/** What a promise was refused with, by the word in capitals that begins its message. */
async function refusal(promise) {
  try {
    return await promise;
  } catch (error) {
    return `${error.constructor.name} ${/^[A-Z_]+(?=:)/.exec(error.message)?.[0] ?? ''}`;
  }
}

/** Prose differs; these name things. */
const PROSE = new Set(['message', 'stack', 'suggestedFix', 'next_actions', 'reason', 'attempted', 'canonicalName', 'canonical_name']);
const strip = (value) => {
  if (Array.isArray(value)) return value.map(strip);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).flatMap(([key, inner]) => (PROSE.has(key) || inner === undefined ? [] : [[key, strip(inner)]])));
};
function described(error, exact = false) {
  if (!(error instanceof Error)) return { thrown: String(error) };
  return { error: error.constructor.name, ...(exact ? { message: error.message } : {}), ...strip({ ...error }) };
}

async function plainly(value) {
  if (value instanceof Response) return { status: value.status, headers: [...value.headers], body: await value.text() };
  if (typeof value === 'bigint') return `${value}n`;
  if (value === undefined) return '(undefined)';
  return JSON.parse(JSON.stringify(value, (_, inner) => (typeof inner === 'bigint' ? `${inner}n` : inner)) ?? 'null');
}

async function sent(input, init = {}) {
  const headers = Object.fromEntries([...new Headers(init.headers)].sort());
  const { body } = init;
  const bytes = body === undefined || body === null ? null : typeof body === 'string' ? body : [...new Uint8Array(body instanceof ArrayBuffer ? body : await new Response(body).arrayBuffer())];
  return { method: init.method ?? 'GET', url: String(input), headers, body: bytes, redirect: init.redirect ?? 'follow' };
}

/** Runs every case against `module`; by name, what it sent and how it ended. */
export async function transcript(module) {
  Object.assign(process.env, { RUN402_API_BASE: 'http://api.test', RUN402_PROJECT_ID: 'prj_1', RUN402_SERVICE_KEY: 'SK', RUN402_ANON_KEY: 'AK' });
  const outer = globalThis.fetch;
  const out = {};
  for (const { name, run: body, within, answers, exact } of list) {
    const requests = [];
    let turn = 0;
    globalThis.fetch = async (input, init) => {
      requests.push(await sent(input, init));
      return answers[Math.min(turn++, answers.length - 1)]();
    };
    const call = () => body(module);
    let outcome;
    try {
      outcome = { value: await plainly(await (within === undefined ? call() : module.runWithContext({ ...within, cacheBypassTainted: { value: false } }, call))) };
    } catch (error) {
      outcome = described(error, exact);
    }
    out[name] = { requests, ...outcome };
  }
  globalThis.fetch = outer;
  return out;
}
