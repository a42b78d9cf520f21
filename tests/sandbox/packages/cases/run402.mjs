// The npm package itself, bundled into a function: it speaks HTTP, and behaves as it does in Node.
import assert from 'node:assert';
import * as published from '@run402/functions';
import { transcript } from '../../functions/cases.mjs';
import expected from '../../functions/expected.json';

export async function behaves_in_the_guest_as_in_node() {
  const { warn } = console;
  console.warn = () => {};
  const found = await transcript(published);
  console.warn = warn;
  for (const [name, wanted] of Object.entries(expected)) assert.deepEqual(found[name], wanted, name);
}
