import assert from 'node:assert';
import { PostgrestClient } from '@supabase/postgrest-js';

function client(status, body, headers = {}) {
  const seen = [];
  const fetch = async (url, init) => {
    seen.push({ url: String(url), method: init.method, headers: new Headers(init.headers), body: init.body });
    return new Response(body === null ? null : JSON.stringify(body), { status, headers });
  };
  return { seen, db: new PostgrestClient('https://x.test/rest/v1', { fetch, headers: { apikey: 'k' } }) };
}

export async function reads() {
  const { db, seen } = client(200, [{ id: 1 }], { 'content-range': '0-0/5' });
  const { data, count, error } = await db.from('items').select('id, tags(name)', { count: 'exact' }).or('a.eq.1,b.gt.2').contains('labels', ['x']).order('id', { ascending: false }).range(0, 9);
  assert.deepEqual([data, count, error], [[{ id: 1 }], 5, null]);
  const url = new URL(seen[0].url);
  assert.deepEqual([url.searchParams.get('select'), url.searchParams.get('or'), url.searchParams.get('labels'), url.searchParams.get('limit')], ['id,tags(name)', '(a.eq.1,b.gt.2)', 'cs.{x}', '10']);
  assert.equal(seen[0].headers.get('apikey'), 'k');
}

export async function writes_and_calls() {
  const { db, seen } = client(201, { id: 7 });
  assert.deepEqual((await db.from('items').upsert({ id: 7 }, { onConflict: 'id' }).select().single()).data, { id: 7 });
  assert.match(seen[0].headers.get('prefer'), /resolution=merge-duplicates/);
  await db.rpc('sum', { a: 1 });
  assert.deepEqual([seen[1].url, seen[1].body], ['https://x.test/rest/v1/rpc/sum', '{"a":1}']);
}

export async function reports_errors() {
  const { db } = client(404, { code: 'PGRST205', message: 'no table' });
  const { data, error, status } = await db.from('none').select();
  assert.deepEqual([data, error.code, status], [null, 'PGRST205', 404]);
}
