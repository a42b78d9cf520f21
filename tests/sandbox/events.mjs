import assert from 'node:assert/strict';
import { AsyncLocalStorage, AsyncResource } from 'node:async_hooks';
import { setTimeout as wait } from 'node:timers/promises';

export function listeners_run_once_in_order() {
  const target = new EventTarget();
  const seen = [];
  target.addEventListener('x', () => seen.push(1), { once: true });
  target.addEventListener('x', { handleEvent: (event) => seen.push(event.detail) });
  target.dispatchEvent(new CustomEvent('x', { detail: 2 }));
  target.dispatchEvent(new CustomEvent('x', { detail: 3 }));
  assert.deepEqual(seen, [1, 2, 3]);
  const event = new Event('y', { cancelable: true });
  target.addEventListener('y', (e) => e.preventDefault());
  assert.equal(target.dispatchEvent(event), false);
}
export async function signals_combine_and_time_out() {
  const controller = new AbortController();
  const any = AbortSignal.any([controller.signal, AbortSignal.timeout(10_000)]);
  let reason;
  any.addEventListener('abort', () => { reason = any.reason; });
  controller.abort('why');
  assert.equal(reason, 'why');
  const timeout = AbortSignal.timeout(5);
  await new Promise((resolve) => { timeout.onabort = resolve; });
  assert.equal(timeout.reason.name, 'TimeoutError');
  assert.throws(() => AbortSignal.abort().throwIfAborted(), { name: 'AbortError' });
}
export async function timers_keep_their_order() {
  const seen = [];
  await new Promise((resolve) => {
    setTimeout(() => seen.push('b'), 20);
    setTimeout((x) => seen.push(x), 5, 'a');
    const cancelled = setTimeout(() => seen.push('never'), 6);
    clearTimeout(cancelled);
    setImmediate(() => seen.push('i'));
    queueMicrotask(() => seen.push('m'));
    process.nextTick(() => seen.push('t'));
    let ticks = 0;
    const every = setInterval(() => { if (++ticks === 3) { clearInterval(every); setTimeout(resolve, 30); } }, 1);
  });
  assert.deepEqual(seen.filter((x) => x.length === 1).sort().join(''), 'abimt');
  assert.ok(seen.indexOf('a') < seen.indexOf('b'));
}
export async function local_storage_survives_every_kind_of_wait() {
  const storage = new AsyncLocalStorage();
  const seen = [];
  const note = (label) => seen.push(`${label}:${storage.getStore()}`);
  await Promise.all(['x', 'y'].map((name) => storage.run(name, async () => {
    note(1);
    await null;
    note(2);
    await wait(3);
    note(3);
    await new Promise((resolve) => setTimeout(() => { note(4); resolve(); }, 1));
    queueMicrotask(() => note(5));
    await { then: (done) => { note(6); done(); } };
    for await (const _ of (async function* () { yield 1; })()) note(7);
    await Promise.reject(new Error('x')).catch(() => note(8)).finally(() => note(9));
  })));
  assert.equal(storage.getStore(), undefined);
  for (const name of ['x', 'y']) {
    assert.deepEqual(seen.filter((entry) => entry.endsWith(`:${name}`)).sort(), [1, 2, 3, 4, 5, 6, 7, 8, 9].map((n) => `${n}:${name}`));
  }
  assert.equal(seen.length, 18);
  let resolve;
  const outside = new Promise((done) => { resolve = done; });
  const inside = storage.run('kept', async () => { await outside; return storage.getStore(); });
  storage.run('other', () => resolve());
  assert.equal(await inside, 'kept');
  const resource = storage.run('bound', () => new AsyncResource('t'));
  assert.equal(resource.runInAsyncScope(() => storage.getStore()), 'bound');
  assert.equal(storage.run('s', () => AsyncLocalStorage.snapshot())(() => storage.getStore()), 's');
}
