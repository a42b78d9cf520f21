// Bundles each file of cases/ as function code is bundled, runs it here, and leaves it in the directory given.
import { mkdirSync, readdirSync } from 'node:fs';
import { basename, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { build } from 'esbuild';

const out = resolve(process.argv[2]);
mkdirSync(out, { recursive: true });
let failed = 0;
for (const name of readdirSync('cases').sort()) {
  const file = join(out, basename(name));
  await build({ entryPoints: [join('cases', name)], outfile: file, bundle: true, format: 'esm', platform: 'node', target: 'es2022', minify: true, keepNames: true, logLevel: 'error' });
  for (const [title, run] of Object.entries(await import(pathToFileURL(file)))) {
    try {
      await run();
    } catch (error) {
      failed++;
      console.error(`${name}: ${title}:`, error);
    }
  }
}
process.exitCode = failed === 0 ? 0 : 1;
