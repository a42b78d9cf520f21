import assert from 'node:assert';
import { and, desc, eq, gt, inArray, relations, sql } from 'drizzle-orm';
import { integer, jsonb, pgTable, serial, text, timestamp } from 'drizzle-orm/pg-core';
import { drizzle } from 'drizzle-orm/pg-proxy';

const users = pgTable('users', { id: serial('id').primaryKey(), name: text('name').notNull(), data: jsonb('data'), at: timestamp('created_at').defaultNow() });
const posts = pgTable('posts', { id: serial('id').primaryKey(), author: integer('author_id').references(() => users.id), title: text('title') });
const usersRelations = relations(users, ({ many }) => ({ posts: many(posts) }));
const postsRelations = relations(posts, ({ one }) => ({ author: one(users, { fields: [posts.author], references: [users.id] }) }));

export async function builds_queries() {
  const seen = [];
  const db = drizzle(async (query, params, method) => {
    seen.push([query, params, method]);
    return { rows: [[1, 'Ada']] };
  });
  const found = await db.select({ id: users.id, name: users.name }).from(users).leftJoin(posts, eq(posts.author, users.id)).where(and(gt(users.id, 5), inArray(users.name, ['a', 'b']))).orderBy(desc(users.id)).limit(3);
  assert.deepEqual(found, [{ id: 1, name: 'Ada' }]);
  assert.deepEqual(seen[0].slice(0, 2), [
    'select "users"."id", "users"."name" from "users" left join "posts" on "posts"."author_id" = "users"."id" where ("users"."id" > $1 and "users"."name" in ($2, $3)) order by "users"."id" desc limit $4',
    [5, 'a', 'b', 3],
  ]);
  const insert = db.insert(users).values({ name: 'x', data: { a: 1 } }).onConflictDoUpdate({ target: users.id, set: { name: sql`excluded.name` } }).toSQL();
  assert.match(insert.sql, /^insert into "users" .* on conflict \("id"\) do update set "name" = excluded\.name$/);
  assert.deepEqual(insert.params, ['x', '{"a":1}']);
}

export async function builds_relational_queries() {
  const db = drizzle(async () => ({ rows: [[1, 'Ada', '[[7,"t"]]']] }), { schema: { users, posts, usersRelations, postsRelations } });
  const query = db.query.users.findMany({ columns: { id: true, name: true }, with: { posts: { columns: { id: true, title: true } } } });
  assert.match(query.toSQL().sql, /left join lateral/);
}
