import assert from 'node:assert';
import { z } from 'zod';

const Order = z.object({
  id: z.uuid(),
  email: z.email().transform((text) => text.toLowerCase()),
  lines: z.array(z.object({ sku: z.string().regex(/^\p{Lu}{2}\d+$/u), count: z.coerce.number().int().positive() })).min(1),
  kind: z.discriminatedUnion('type', [z.object({ type: z.literal('a'), a: z.string() }), z.object({ type: z.literal('b'), b: z.number() })]),
  at: z.iso.datetime().optional(),
  extra: z.record(z.string(), z.unknown()).default({}),
});

export function parses() {
  const good = { id: '00000000-0000-4000-8000-000000000000', email: 'A@B.TEST', lines: [{ sku: 'ÄB12', count: '2' }], kind: { type: 'b', b: 1 } };
  assert.deepEqual(Order.parse(good), { ...good, email: 'a@b.test', lines: [{ sku: 'ÄB12', count: 2 }], extra: {} });
}

export function tells_what_is_wrong() {
  const result = Order.safeParse({ id: 'x', email: 'no', lines: [{ sku: 'ab', count: 0 }], kind: { type: 'c' }, at: 'today' });
  assert.equal(result.success, false);
  assert.deepEqual(result.error.issues.map((issue) => issue.path.join('.')).sort(), ['at', 'email', 'id', 'kind.type', 'lines.0.count', 'lines.0.sku']);
  assert.match(z.prettifyError(result.error), /Invalid UUID/);
}

export async function works_asynchronously() {
  const unique = z.string().refine(async (text) => text !== 'taken', 'is taken');
  assert.equal(await unique.parseAsync('free'), 'free');
  await assert.rejects(unique.parseAsync('taken'), z.ZodError);
}

export function makes_json_schema() {
  assert.deepEqual(z.toJSONSchema(z.object({ a: z.string().max(3) })).properties, { a: { type: 'string', maxLength: 3 } });
}
