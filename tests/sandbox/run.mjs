// Runs the cases under Node: what they assert is what Node does.
import { readdirSync } from 'node:fs';

let failed = 0;
// The timers of AbortSignal.timeout alone do not keep Node going.
const alive = setInterval(() => {}, 1000);
for (const name of readdirSync(new URL('.', import.meta.url)).sort()) {
  if (name === 'run.mjs' || !name.endsWith('.mjs')) continue;
  for (const [title, run] of Object.entries(await import(`./${name}`))) {
    try {
      await run();
    } catch (error) {
      failed++;
      console.error(`${name}: ${title}:`, error);
    }
  }
}
clearInterval(alive);
process.exitCode = failed === 0 ? 0 : 1;
