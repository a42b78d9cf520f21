// What `import` and `require` find under Node's names.
import { bufferModule } from './buffer';
import { host, hooks, install } from '../host';
import * as asyncHooks from './async_hooks';
import { process } from './process';
import events from './events';
import * as timers from './timers';
import * as path from './path';
import * as querystring from './querystring';
import * as url from './url';
import * as util from './util';
import assert from './assert';
import * as os from './os';
import * as stringDecoder from 'string_decoder';
import * as stream from './stream';
import * as crypto from './crypto';
import * as zlib from './zlib';
import * as dns from './dns';
import * as http from './http';
import * as misc from './misc';

type Namespace = Record<string, unknown>;

function offer(name: string, members: object, fallback?: unknown): void {
  const namespace: Namespace = { ...(members as Namespace) };
  if (fallback !== undefined) namespace.default = fallback;
  else if (!('default' in namespace)) namespace.default = { ...namespace };
  host.builtins[name] = namespace;
}

offer('buffer', bufferModule);
offer('async_hooks', asyncHooks);
offer('events', events, events);
offer('process', { ...process }, process);
offer('timers', timers);
offer('timers/promises', timers.promises);
offer('path', path.posix, path.posix);
offer('path/posix', path.posix, path.posix);
offer('path/win32', path.posix, path.posix);
offer('querystring', querystring);
offer('url', url);
offer('util', util);
offer('util/types', util.types);
offer('assert', assert, assert);
offer('assert/strict', assert.strict, assert.strict);
offer('os', os);
offer('string_decoder', { StringDecoder: stringDecoder.StringDecoder });
offer('stream', stream, stream.Stream);
offer('stream/promises', stream.promises);
offer('stream/web', stream.web);
offer('stream/consumers', stream.consumers);
offer('crypto', crypto);
offer('zlib', zlib);
offer('dns', dns);
offer('dns/promises', dns.promises);
offer('http', http.http);
offer('https', http.https);
for (const [name, members] of Object.entries(misc.modules)) offer(name, members);

/** Node's own modules that exist there and not here. */
const ABSENT = new Set(
  'cluster dgram domain http2 inspector inspector/promises readline readline/promises repl sea sqlite test test/reporters trace_events v8 vm wasi'.split(' '),
);

const bare = (name: string) => (name.startsWith('node:') ? name.slice(5) : name);

hooks.unresolved = (specifier, importer) => {
  const absent = ABSENT.has(bare(specifier)) || specifier.startsWith('node:');
  const message = absent
    ? `The module '${specifier}' is not available in the function sandbox`
    : `Cannot find module '${specifier}' imported from ${importer}`;
  return Object.assign(new Error(message), {
    name: 'UnresolvedImport',
    code: absent ? 'ERR_R402_UNSUPPORTED_API' : 'ERR_MODULE_NOT_FOUND',
    specifier,
    importer,
  });
};

function require(specifier: string): unknown {
  const name = bare(String(specifier));
  if (Object.hasOwn(host.builtins, name)) {
    const found = host.builtins[name] as Namespace;
    return found.default ?? found;
  }
  throw hooks.unresolved?.(String(specifier), 'require');
}
require.resolve = (specifier: string) => {
  if (!Object.hasOwn(host.builtins, bare(specifier))) throw hooks.unresolved?.(specifier, 'require');
  return specifier;
};
require.cache = {};
install({ require });
const builtinModules = () => Object.keys(host.builtins);
offer('module', {
  createRequire: () => require,
  isBuiltin: (name: string) => Object.hasOwn(host.builtins, bare(name)),
  builtinModules: builtinModules(),
  syncBuiltinESMExports: () => {},
  Module: { createRequire: () => require },
});
