import { install } from './host';

class Navigator {
  readonly userAgent = 'Node.js/22';
  readonly language = 'en-US';
  readonly languages = Object.freeze(['en-US']);
  readonly hardwareConcurrency = 1;
  readonly platform = 'linux';
}

/** Absent on purpose, with a sentence that says so. */
const WebAssembly = new Proxy(
  {},
  {
    get(_, key) {
      if (typeof key === 'symbol') return undefined;
      throw new Error(`WebAssembly.${key} is not available: functions already run inside WebAssembly`);
    },
  },
);

function reportError(error: unknown) {
  console.error(error);
}

install({ navigator: new Navigator(), Navigator, WebAssembly, reportError, global: globalThis, self: globalThis });
