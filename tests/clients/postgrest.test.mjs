// The data API as @supabase/postgrest-js, unmodified, asks it and understands it.

import assert from "node:assert/strict";
import { before, test } from "node:test";
import { PostgrestClient } from "@supabase/postgrest-js";
import { API, subscriber, wire } from "./harness.mjs";

const SCHEMA = `
  create table authors(id int primary key, name text not null, born date);
  create table books(id serial primary key, title text not null, author_id int references authors,
                     tags text[], data jsonb, price numeric, span int4range, words tsvector);
  create table labels(id int primary key, label text unique);
  create table book_labels(book_id int references books, label_id int references labels, primary key (book_id, label_id));
  create table stock(id int primary key, n int not null, note text default 'none');
  create function add(a int, b int default 10) returns int language sql immutable as 'select a + b';
  create function find_books(wanted int[]) returns setof books language sql stable as 'select * from books where id = any(wanted)';
  create function sell(item int) returns void language sql as 'update stock set n = n - 1 where id = item';
  create function refuse() returns void language plpgsql as $$ begin raise exception 'no' using hint = 'ask again', detail = 'because'; end $$;
  insert into authors values (1, 'Ann', '1970-01-02'), (2, 'Bob', null), (3, 'Cy', null);
  insert into books(title, author_id, tags, data, price, span, words) values
    ('Alpha', 1, '{x,y}', '{"k":"v","n":1}', 10, '[1,5)', to_tsvector('english', 'the quick cats')),
    ('Beta, two', 1, '{y}', '{"k":"w","n":2}', 20, '[5,9)', to_tsvector('english', 'slow dogs')),
    ('Gamma "g"', 2, null, null, 30, null, null),
    ('Delta', null, '{}', null, 40, null, null);
  insert into labels values (1, 'red'), (2, 'blue'), (3, 'unused');
  insert into book_labels values (1, 1), (1, 2), (2, 2);
  insert into stock values (1, 5, 'a'), (2, 6, 'b');`;

let project, db, anon;

before(async () => {
  const { r } = await subscriber();
  project = await r.projects.provision({ name: "postgrest" });
  await r.projects.sql(project.project_id, SCHEMA);
  const headers = (key) => ({ apikey: key, Authorization: `Bearer ${key}` });
  db = new PostgrestClient(`${API}/admin/v1/rest`, { headers: headers(project.service_key), retry: false });
  anon = new PostgrestClient(`${API}/rest/v1`, { headers: headers(project.anon_key), retry: false });
});

const ok = async (query) => {
  const { data, error, status } = await query;
  assert.equal(error, null, JSON.stringify(error));
  assert.ok(status >= 200 && status < 300, String(status));
  return data;
};
const ids = async (query) => (await ok(query)).map(({ id }) => id);
const books = () => db.from("books").select("id").order("id");

test("every filter method chooses its rows", async () => {
  for (const [what, query, expected] of [
    ["eq", books().eq("id", 1), [1]],
    ["eq with a comma", books().eq("title", "Beta, two"), [2]],
    ["neq", books().neq("id", 1), [2, 3, 4]],
    ["gt", books().gt("id", 2), [3, 4]],
    ["gte", books().gte("id", 3), [3, 4]],
    ["lt", books().lt("id", 2), [1]],
    ["lte", books().lte("id", 2), [1, 2]],
    ["like", books().like("title", "%ta%"), [2, 4]],
    ["likeAnyOf", books().likeAnyOf("title", ["Al%", "De%"]), [1, 4]],
    ["likeAllOf", books().likeAllOf("title", ["%l%", "%a%"]), [1, 4]],
    ["ilike", books().ilike("title", "%ALPHA%"), [1]],
    ["is", books().is("author_id", null), [4]],
    ["in", books().in("id", [1, 3]), [1, 3]],
    ["in with quotes", books().in("title", ["Beta, two", "Delta"]), [2, 4]],
    ["contains array", books().contains("tags", ["x"]), [1]],
    ["contains json", books().contains("data", { k: "v" }), [1]],
    ["containedBy", books().containedBy("tags", ["y", "z"]), [2, 4]],
    ["overlaps", books().overlaps("tags", ["y"]), [1, 2]],
    ["rangeGt", books().rangeGt("span", "[1,5)"), [2]],
    ["rangeGte", books().rangeGte("span", "[5,9)"), [2]],
    ["rangeLt", books().rangeLt("span", "[5,9)"), [1]],
    ["rangeLte", books().rangeLte("span", "[1,5)"), [1]],
    ["rangeAdjacent", books().rangeAdjacent("span", "[9,12)"), [2]],
    ["textSearch", books().textSearch("words", "cat", { config: "english" }), [1]],
    ["textSearch plain", books().textSearch("words", "slow dog", { type: "plain", config: "english" }), [2]],
    ["textSearch websearch", books().textSearch("words", "dog or cat", { type: "websearch", config: "english" }), [1, 2]],
    ["match", books().match({ id: 1, title: "Alpha" }), [1]],
    ["not", books().not("id", "in", "(1,2)"), [3, 4]],
    ["or", books().or("id.eq.1,and(id.gt.3,title.like.D*)"), [1, 4]],
    ["filter", books().filter("data->>k", "eq", "w"), [2]],
    ["two orders", db.from("books").select("id").order("author_id", { nullsFirst: true }).order("id", { ascending: false }), [4, 2, 1, 3]],
    ["limit", books().limit(2), [1, 2]],
    ["range", books().range(1, 2), [2, 3]],
  ]) {
    assert.deepEqual(await ids(query), expected, what);
  }
});

test("select shapes rows and embeds relations", async () => {
  assert.deepEqual(await ok(db.from("books").select("n:id, title, k:data->>k, price::text").eq("id", 1)), [
    { n: 1, title: "Alpha", k: "v", price: "10" },
  ]);
  assert.deepEqual(await ok(db.from("books").select("id, authors(name), labels(label)").eq("id", 2)), [
    { id: 2, authors: { name: "Ann" }, labels: [{ label: "blue" }] },
  ]);
  const ordered = db.from("authors").select("name, books(id)").order("id").order("id", { referencedTable: "books", ascending: false });
  assert.deepEqual(await ok(ordered.limit(1, { referencedTable: "books" })), [
    { name: "Ann", books: [{ id: 2 }] },
    { name: "Bob", books: [{ id: 3 }] },
    { name: "Cy", books: [] },
  ]);
  assert.deepEqual(await ok(db.from("authors").select("name, books!inner(id)").eq("books.id", 1)), [{ name: "Ann", books: [{ id: 1 }] }]);
  assert.deepEqual(await ok(db.from("authors").select("name, books(id)").or("id.eq.1,id.eq.3", { referencedTable: "books" }).eq("id", 1)), [
    { name: "Ann", books: [{ id: 1 }] },
  ]);
  assert.deepEqual(await ok(db.from("books").select("id, ...authors(name)").eq("id", 3)), [{ id: 3, name: "Bob" }]);
  assert.deepEqual(await ok(db.from("books").select("count()")), [{ count: 4 }]);
});

test("counts come without rows, with them, and with a page of them", async () => {
  const head = await db.from("books").select("*", { count: "exact", head: true });
  assert.deepEqual([head.status, head.count, head.data, head.error], [200, 4, null, null]);
  const page = await db.from("books").select("id", { count: "exact" }).order("id").range(0, 1);
  assert.deepEqual([page.status, page.count, page.data.length], [206, 4, 2]);
  const beyond = await db.from("books").select("id", { count: "exact" }).range(50, 60);
  assert.deepEqual([beyond.status, beyond.error.code], [416, "PGRST103"]);
  const estimated = await db.from("books").select("id", { count: "estimated" });
  assert.equal(estimated.count, 4);
});

test("single and maybeSingle", async () => {
  assert.deepEqual(await ok(books().eq("id", 1).single()), { id: 1 });
  assert.deepEqual(await ok(books().eq("id", 1).maybeSingle()), { id: 1 });
  assert.equal(await ok(books().eq("id", 99).maybeSingle()), null);
  const none = await books().eq("id", 99).single();
  assert.deepEqual([none.status, none.error.code, none.error.details], [406, "PGRST116", "The result contains 0 rows"]);
  const many = await books().single();
  assert.deepEqual([many.status, many.error.code, many.error.details], [406, "PGRST116", "The result contains 4 rows"]);
  const write = await db.from("stock").update({ n: 1 }).eq("id", 99).select().maybeSingle();
  assert.deepEqual([write.error, write.data], [null, null]);
});

test("rows are inserted, changed and removed", async () => {
  const bare = await db.from("stock").insert({ id: 10, n: 1 });
  assert.deepEqual([bare.status, bare.data, bare.error], [201, null, null]);
  assert.deepEqual(await ok(db.from("stock").insert({ id: 11, n: 1 }).select().single()), { id: 11, n: 1, note: "none" });
  wire.clear();
  assert.deepEqual(await ok(db.from("stock").insert([{ id: 12, n: 1, note: "x" }, { id: 13, n: 2 }]).select("id, note")), [
    { id: 12, note: "x" },
    { id: 13, note: null },
  ]);
  assert.match(wire.exchanges[0].path, /columns=/);
  const defaults = db.from("stock").insert([{ id: 14, n: 1, note: "x" }, { id: 15, n: 2 }], { defaultToNull: false });
  assert.deepEqual((await ok(defaults.select("note"))).map(({ note }) => note), ["x", "none"]);
  const counted = await db.from("stock").insert([{ id: 16, n: 1 }, { id: 17, n: 1 }], { count: "exact" });
  assert.equal(counted.count, 2);
  const changed = await db.from("stock").update({ note: "new" }, { count: "exact" }).in("id", [16, 17]).select("note");
  assert.deepEqual([changed.status, changed.count, changed.data], [200, 2, [{ note: "new" }, { note: "new" }]]);
  const quiet = await db.from("stock").update({ note: "quiet" }).eq("id", 16);
  assert.deepEqual([quiet.status, quiet.data, quiet.error], [204, null, null]);
  const gone = await db.from("stock").delete({ count: "exact" }).gte("id", 10).select("id");
  assert.deepEqual([gone.status, gone.count, gone.data.length], [200, 8, 8]);
  assert.equal((await db.from("stock").delete().eq("id", 99)).status, 204);
});

test("upserts merge or ignore", async () => {
  assert.deepEqual(await ok(db.from("labels").upsert({ id: 1, label: "RED" }).select()), [{ id: 1, label: "RED" }]);
  assert.deepEqual(await ok(db.from("labels").upsert([{ id: 1, label: "red" }, { id: 4, label: "new" }]).select()), [
    { id: 1, label: "red" },
    { id: 4, label: "new" },
  ]);
  assert.deepEqual(await ok(db.from("labels").upsert({ id: 4, label: "x" }, { ignoreDuplicates: true }).select()), []);
  assert.deepEqual(await ok(db.from("labels").upsert({ id: 5, label: "new" }, { onConflict: "label", ignoreDuplicates: true }).select()), []);
  await ok(db.from("labels").delete().eq("id", 4));
});

test("functions are called in every way", async () => {
  assert.equal(await ok(db.rpc("add", { a: 1, b: 2 })), 3);
  assert.equal(await ok(db.rpc("add", { a: 1 }, { get: true })), 11);
  assert.deepEqual(await ok(db.rpc("find_books", { wanted: [1, 3] }).select("id").order("id", { ascending: false })), [{ id: 3 }, { id: 1 }]);
  assert.deepEqual(await ok(db.rpc("find_books", { wanted: [1, 3] }, { get: true }).select("id, authors(name)").eq("id", 3)), [
    { id: 3, authors: { name: "Bob" } },
  ]);
  const head = await db.rpc("find_books", { wanted: [1, 3] }, { head: true, count: "exact" });
  assert.deepEqual([head.status, head.count], [200, 2]);
  const sold = await db.rpc("sell", { item: 1 });
  assert.deepEqual([sold.status, sold.data], [204, null]);
  assert.equal((await ok(db.from("stock").select("n").eq("id", 1).single())).n, 4);
  const unknown = await db.rpc("nope", { a: 1 });
  assert.deepEqual([unknown.status, unknown.error.code], [404, "PGRST202"]);
  const refused = await db.rpc("refuse");
  assert.deepEqual(
    [refused.status, refused.error.code, refused.error.message, refused.error.details, refused.error.hint],
    [400, "P0001", "no", "because", "ask again"],
  );
});

test("other formats: csv, plan, stripped nulls", async () => {
  assert.equal(await ok(db.from("books").select("id,title").lte("id", 2).order("id").csv()), 'id,title\n1,Alpha\n2,"Beta, two"');
  assert.match(await ok(db.from("books").select().eq("id", 1).explain()), /cost=/);
  const plan = await ok(db.from("books").select().eq("id", 1).explain({ format: "json", analyze: true, verbose: true }));
  assert.ok(plan[0].Plan);
  assert.deepEqual(await ok(db.from("books").select("id,data").eq("id", 4).stripNulls()), [{ id: 4 }]);
  const geo = await db.from("books").select().geojson();
  assert.deepEqual([geo.status, geo.error.code], [406, "PGRST107"]);
});

test("schemas, affected rows, aborts", async () => {
  assert.equal((await ok(db.schema("public").from("books").select("id"))).length, 4);
  const wrong = await db.schema("secret").from("books").select("id");
  assert.deepEqual([wrong.status, wrong.error.code], [406, "PGRST106"]);
  const too = await db.from("stock").update({ note: "x" }).gte("id", 0).maxAffected(1);
  assert.deepEqual([too.status, too.error.code], [400, "PGRST124"]);
  const controller = new AbortController();
  controller.abort();
  const aborted = await db.from("books").select().abortSignal(controller.signal);
  assert.ok(aborted.error);
  await assert.rejects(async () => db.from("nope").select().throwOnError());
});

test("errors reach the caller with code and hint", async () => {
  for (const [query, status, code] of [
    [db.from("book").select(), 404, "PGRST205"],
    [db.from("books").select("nope"), 400, "42703"],
    [db.from("books").select("id, nope(id)"), 400, "PGRST200"],
    [db.from("books").select().eq("id", "abc"), 400, "22P02"],
    [db.from("stock").insert({ id: 1, n: 1 }), 409, "23505"],
    [db.from("stock").insert({ id: 50 }), 400, "23502"],
    [db.from("stock").insert({ id: 50, nope: 1 }), 400, "PGRST204"],
  ]) {
    const answer = await query;
    assert.deepEqual([answer.status, answer.error?.code, answer.data], [status, code, null]);
  }
  const near = await db.from("book").select();
  assert.equal(near.error.hint, "Perhaps you meant the table 'public.books'");
});

test("with the anon key all of it is dark", async () => {
  const read = await anon.from("books").select();
  assert.deepEqual([read.status, read.error.code, read.data], [401, "42501", null]);
  const write = await anon.from("stock").insert({ id: 60, n: 1 });
  assert.deepEqual([write.status, write.error.code], [401, "42501"]);
  const call = await anon.rpc("add", { a: 1 });
  assert.deepEqual([call.status, call.error.code], [403, "FORBIDDEN_FUNCTION"]);
  const leaked = new PostgrestClient(`${API}/rest/v1`, { headers: { apikey: project.service_key }, retry: false });
  const refused = await leaked.from("stock").delete().gte("id", 0);
  assert.deepEqual([refused.status, refused.error.code], [403, "ADMIN_REQUIRED"]);
  assert.equal((await ok(db.from("stock").select("id"))).length, 2);
});
