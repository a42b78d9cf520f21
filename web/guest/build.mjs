// Builds the guest: TypeScript prelude → C header → WebAssembly → pre-initialised snapshot.
//
//   npm ci && node build.mjs            writes ../../src/engines/sandbox/guest.wasm.zst and guest.lock
//   node build.mjs --check              builds and fails when the committed snapshot differs
//
// Needs clang with its WebAssembly target, lld and wasi-libc (Debian: clang lld wasi-libc libclang-rt-dev-wasm32),
// cargo (for the QuickJS-NG sources) and zstd. The output depends on these versions and on nothing else: the clock and
// the entropy the engine sees while it initialises are fixed.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';
import { additions, patches } from './quickjs/patches.mjs';
import { snapshot } from './snapshot.mjs';

const here = dirname(fileURLToPath(import.meta.url));
const out = join(here, 'build');
const target = join(here, '../../src/engines/sandbox');
/** Bytes of the guest's C stack; the engine's own limit is below it, the host's (settings.rs) above. */
const STACK = 1024 * 1024;
const JS_STACK = 512 * 1024;

function sources(directory) {
  return readdirSync(directory, { withFileTypes: true })
    .flatMap((entry) => (entry.isDirectory() ? sources(join(directory, entry.name)) : [join(directory, entry.name)]))
    .sort();
}

/** What the snapshot is made of; tests/guest reads the same list from guest.lock. */
function digests() {
  const files = [...sources(join(here, 'src')), 'build.mjs', 'snapshot.mjs', 'package.json', 'package-lock.json', 'quickjs/glue.c', 'quickjs/patches.mjs', 'quickjs/Cargo.toml']
    .map((file) => (file.startsWith('/') ? relative(here, file) : file))
    .sort();
  return files.map((file) => `${createHash('sha256').update(readFileSync(join(here, file))).digest('hex')}  ${file}`);
}

async function prelude() {
  const result = await build({
    entryPoints: [join(here, 'src/main.ts')],
    bundle: true,
    write: false,
    format: 'iife',
    target: 'es2024',
    platform: 'neutral',
    mainFields: ['module', 'main'],
    conditions: ['import', 'module', 'default'],
    minifyWhitespace: true,
    minifySyntax: true,
    keepNames: false,
    legalComments: 'none',
    metafile: true,
    // Packages reach for Node's modules: they get the prelude's own.
    plugins: [
      {
        name: 'node-modules',
        setup(b) {
          // Its main file asks whether Node's own streams are there; the other one is the implementation.
          b.onResolve({ filter: /^readable-stream$/ }, () => ({ path: join(here, 'node_modules/readable-stream/lib/ours/browser.js') }));
          b.onResolve({ filter: /^process\/?$/ }, () => ({ path: join(here, 'src/node/process-shim.ts') }));
          b.onResolve({ filter: /^abort-controller$/ }, () => ({ path: join(here, 'src/node/abort-shim.ts') }));
          b.onResolve({ filter: /^(buffer|events|string_decoder)\/$/ }, (args) => b.resolve(args.path.slice(0, -1), { kind: args.kind, resolveDir: args.resolveDir }));
        },
      },
    ],
  });
  return result;
}

function quickjs() {
  const manifest = join(here, 'quickjs/Cargo.toml');
  const metadata = JSON.parse(execFileSync('cargo', ['metadata', '--locked', '--format-version', '1', '--manifest-path', manifest], { maxBuffer: 1 << 28 }));
  const found = metadata.packages.find((one) => one.name === 'rquickjs-sys');
  return join(dirname(found.manifest_path), 'quickjs');
}

function patched(from) {
  let text = readFileSync(join(from, 'quickjs.c'), 'utf8');
  for (const { find, replace, why } of patches) {
    if (text.split(find).length !== 2) throw new Error(`a patch of quickjs.c no longer fits (${why}): ${find.slice(0, 60)}`);
    text = text.replace(find, () => replace);
  }
  return text + additions;
}

function compile(bundle) {
  const engine = quickjs();
  const bytes = [...Buffer.from(bundle), 0].join(',');
  writeFileSync(join(out, 'prelude.h'), `static const unsigned char PRELUDE[] = {${bytes}};\nstatic const unsigned PRELUDE_LENGTH = ${Buffer.byteLength(bundle)};\n`);
  writeFileSync(join(out, 'quickjs-patched.c'), patched(engine));
  const flags = ['--target=wasm32-wasi', '-O2', '-D_GNU_SOURCE', '-DQUICKJS_NG_BUILD', '-fno-exceptions', '-fvisibility=hidden', `-DJS_STACK_BYTES=${JS_STACK}`, `-I${engine}`, `-I${out}`, `-ffile-prefix-map=${out}=.`, `-ffile-prefix-map=${engine}=.`];
  const objects = [
    [join(out, 'quickjs-patched.c'), 'quickjs.o'],
    [join(engine, 'libregexp.c'), 'libregexp.o'],
    [join(engine, 'libunicode.c'), 'libunicode.o'],
    [join(engine, 'dtoa.c'), 'dtoa.o'],
    [join(here, 'quickjs/glue.c'), 'glue.o'],
  ].map(([source, name]) => {
    const object = join(out, name);
    // The engine takes half a minute: it is compiled again only when its text changed.
    const stamp = `${object}.stamp`;
    // The engine is warned about by its own authors; our file is held to them.
    const warnings = name === 'glue.o' ? ['-Wall', '-Werror'] : ['-Wno-everything'];
    const key = createHash('sha256').update(readFileSync(source)).update(flags.join(' ')).digest('hex');
    if (name === 'glue.o' || !existsSync(object) || !existsSync(stamp) || readFileSync(stamp, 'utf8') !== key) {
      execFileSync('clang', [...flags, ...warnings, '-c', source, '-o', object], { stdio: 'inherit' });
      writeFileSync(stamp, key);
    }
    return object;
  });
  const wasm = join(out, 'guest.raw.wasm');
  execFileSync('clang', ['--target=wasm32-wasi', '-mexec-model=reactor', '-Wl,--stack-first', `-Wl,-z,stack-size=${STACK}`, '-Wl,--strip-all', '-Wl,--no-check-features', '-Wl,--export=__stack_pointer', ...objects, '-o', wasm], { stdio: 'inherit' });
  return readFileSync(wasm);
}

mkdirSync(out, { recursive: true });
const bundled = await prelude();
const bundle = bundled.outputFiles[0].text;
const wasm = snapshot(compile(bundle));
writeFileSync(join(out, 'guest.wasm'), wasm);
const digest = createHash('sha256').update(wasm).digest('hex');
const lock = [`${digest}  guest.wasm`, ...digests(), ''].join('\n');
console.log(`prelude ${(bundle.length / 1024).toFixed(0)} KB, snapshot ${(wasm.length / 1024).toFixed(0)} KB, sha256 ${digest}`);
const lockFile = join(target, 'guest.lock');
if (process.argv.includes('--check')) {
  if (readFileSync(lockFile, 'utf8') !== lock) {
    console.error('src/engines/sandbox/guest.lock differs from what the sources build: run `npm run build` in web/guest');
    process.exit(1);
  }
} else {
  mkdirSync(target, { recursive: true });
  execFileSync('zstd', ['-q', '-19', '-f', join(out, 'guest.wasm'), '-o', join(target, 'guest.wasm.zst')]);
  writeFileSync(lockFile, lock);
  console.log(`guest.wasm.zst ${(statSync(join(target, 'guest.wasm.zst')).size / 1024).toFixed(0)} KB`);
}
if (process.argv.includes('--sizes')) {
  const inputs = Object.values(bundled.metafile.outputs)[0].inputs;
  for (const [file, { bytesInOutput }] of Object.entries(inputs).sort((a, b) => b[1].bytesInOutput - a[1].bytesInOutput).slice(0, 25)) {
    console.log(String(bytesInOutput).padStart(8), file);
  }
}
