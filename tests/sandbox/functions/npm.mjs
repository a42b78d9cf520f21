// Runs the cases against the npm package and writes, or with --check compares, expected.json.
//
//   npm install --no-save @run402/functions@4.0.0 && node npm.mjs [--check]
import { readFileSync, writeFileSync } from 'node:fs';
import * as published from '@run402/functions';
import { transcript } from './cases.mjs';

console.warn = () => {};
const file = new URL('expected.json', import.meta.url);
const text = `${JSON.stringify(await transcript(published), null, 1)}\n`;
if (!process.argv.includes('--check')) writeFileSync(file, text);
else if (readFileSync(file, 'utf8') !== text) {
  console.error('expected.json is not what the package does');
  process.exitCode = 1;
}
