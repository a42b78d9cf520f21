// Runs the guest's `initialize` once and writes a module whose memory begins where that ended.

const PAGE = 65536;
/** Zero runs shorter than this stay inside a data segment: a segment header costs about as much. */
const GAP = 64;

function leb(value) {
  const out = [];
  do {
    const byte = value & 127;
    value >>>= 7;
    out.push(value === 0 ? byte : byte | 128);
  } while (value !== 0);
  return out;
}
function sleb(value) {
  const out = [];
  for (;;) {
    const byte = value & 127;
    value >>= 7;
    if ((value === 0 && !(byte & 64)) || (value === -1 && byte & 64)) return [...out, byte];
    out.push(byte | 128);
  }
}

class Reader {
  constructor(bytes, at = 0) {
    this.bytes = bytes;
    this.at = at;
  }
  byte() {
    return this.bytes[this.at++];
  }
  leb() {
    let value = 0;
    for (let shift = 0; ; shift += 7) {
      const byte = this.byte();
      value |= (byte & 127) << shift;
      if (!(byte & 128)) return value >>> 0;
    }
  }
  take(length) {
    this.at += length;
    return this.bytes.subarray(this.at - length, this.at);
  }
}

function sections(wasm) {
  const reader = new Reader(wasm, 8);
  const out = [];
  while (reader.at < wasm.length) {
    const id = reader.byte();
    out.push({ id, body: reader.take(reader.leb()) });
  }
  return out;
}

/** Exports less the ones that only make sense before the snapshot. */
function exportsWithout(body, dropped) {
  const reader = new Reader(body);
  const kept = [];
  for (let n = reader.leb(); n > 0; n--) {
    const start = reader.at;
    const name = new TextDecoder().decode(reader.take(reader.leb()));
    reader.byte();
    reader.leb();
    if (!dropped.has(name)) kept.push(body.subarray(start, reader.at));
  }
  return Buffer.concat([Buffer.from(leb(kept.length)), ...kept]);
}

function mutableGlobals(body) {
  const reader = new Reader(body);
  let mutable = 0;
  for (let n = reader.leb(); n > 0; n--) {
    reader.byte();
    mutable += reader.byte();
    while (reader.byte() !== 0x0b);
  }
  return mutable;
}

function segments(memory) {
  const out = [];
  let at = 0;
  while (at < memory.length) {
    while (at < memory.length && memory[at] === 0) at++;
    if (at >= memory.length) break;
    const start = at;
    let end = at;
    for (let zeros = 0; at < memory.length && zeros < GAP; at++) {
      if (memory[at] === 0) zeros++;
      else {
        zeros = 0;
        end = at + 1;
      }
    }
    out.push([start, memory.subarray(start, end)]);
    at = end;
  }
  return out;
}

export function snapshot(wasm) {
  let memory;
  let failure = null;
  const host = {
    call: () => {
      throw new Error('the prelude called the host while it initialised');
    },
    read() {},
    poll: () => -1,
    ret: (_status, ptr, length) => {
      failure = Buffer.from(memory.buffer, ptr, length).toString();
    },
  };
  host.work = host.call;
  const wasi = {
    // The clock stands at zero: whatever is computed from it is the same in every build.
    clock_time_get: (_id, _precision, out) => {
      new DataView(memory.buffer).setBigUint64(out, 0n, true);
      return 0;
    },
    fd_write: (_fd, iovs, count, written) => {
      const view = new DataView(memory.buffer);
      let total = 0;
      for (let i = 0; i < count; i++) {
        const length = view.getUint32(iovs + 8 * i + 4, true);
        process.stderr.write(Buffer.from(memory.buffer, view.getUint32(iovs + 8 * i, true), length));
        total += length;
      }
      view.setUint32(written, total, true);
      return 0;
    },
    fd_close: () => 8,
    fd_seek: () => 8,
    fd_fdstat_get: () => 8,
    proc_exit: (code) => {
      throw new Error(`the guest exited with ${code}`);
    },
  };
  const module = new WebAssembly.Module(wasm);
  const instance = new WebAssembly.Instance(module, { host, wasi_snapshot_preview1: wasi });
  ({ memory } = instance.exports);
  const stack = instance.exports.__stack_pointer;
  const top = stack.value;
  instance.exports._initialize?.();
  if (instance.exports.initialize() !== 0) throw new Error(`the prelude failed: ${failure}`);
  if (stack.value !== top) throw new Error('the stack pointer moved');

  const bytes = new Uint8Array(memory.buffer).slice();
  // What the stack held while it initialised is not part of the state.
  bytes.fill(0, 0, top);
  const data = segments(bytes);
  const parts = [Buffer.from([0, 97, 115, 109, 1, 0, 0, 0])];
  const put = (id, body) => parts.push(Buffer.from([id, ...leb(body.length)]), body);
  for (const { id, body } of sections(wasm)) {
    if (id === 0 || id === 12) continue;
    if (id === 5) put(5, Buffer.from([1, 0, ...leb(bytes.length / PAGE)]));
    else if (id === 6) {
      if (mutableGlobals(body) !== 1) throw new Error('a mutable global besides the stack pointer would be lost');
      put(6, body);
    } else if (id === 7) put(7, exportsWithout(body, new Set(['_initialize', 'initialize', '__stack_pointer'])));
    else if (id === 11) {
      const chunks = data.map(([at, chunk]) => Buffer.concat([Buffer.from([0, 0x41, ...sleb(at), 0x0b, ...leb(chunk.length)]), chunk]));
      put(11, Buffer.concat([Buffer.from(leb(chunks.length)), ...chunks]));
    } else put(id, body);
  }
  const result = Buffer.concat(parts);
  if (!WebAssembly.validate(result)) throw new Error('the snapshot is not a valid module');
  return result;
}
