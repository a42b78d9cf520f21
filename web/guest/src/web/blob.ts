import { decode, encode, host, install, tag, view } from '../host';

export const concat = (parts: Uint8Array[]): Uint8Array<ArrayBuffer> => {
  let size = 0;
  for (const part of parts) size += part.length;
  const out = new Uint8Array(size);
  let at = 0;
  for (const part of parts) {
    out.set(part, at);
    at += part.length;
  }
  return out;
};

const contents = new WeakMap<Blob, Uint8Array<ArrayBuffer>>();
/** The bytes of a Blob, shared: whoever hands them to user code copies. */
export const blobBytes = (blob: Blob): Uint8Array<ArrayBuffer> => contents.get(blob) ?? new Uint8Array(0);

class Blob {
  readonly type: string;
  constructor(parts: Iterable<unknown> = [], options: { type?: string; endings?: string } = {}) {
    if (typeof parts !== 'object' || parts === null || !(Symbol.iterator in parts)) {
      throw new TypeError('The parts of a Blob must be a sequence');
    }
    const bytes: Uint8Array[] = [];
    for (const part of parts) {
      if (part instanceof Blob) bytes.push(blobBytes(part));
      else if (part instanceof ArrayBuffer || ArrayBuffer.isView(part)) bytes.push(view(part));
      else {
        const text = String(part);
        bytes.push(encode(options?.endings === 'native' ? text.replace(/\r\n?/g, '\n') : text));
      }
    }
    contents.set(this, concat(bytes));
    const type = String(options?.type ?? '');
    this.type = /^[\x20-\x7e]*$/.test(type) ? type.toLowerCase() : '';
  }
  get size(): number {
    return blobBytes(this).length;
  }
  slice(start = 0, end = this.size, type = ''): Blob {
    return new Blob([blobBytes(this).slice(start, end)], { type });
  }
  async text(): Promise<string> {
    return decode(blobBytes(this));
  }
  async arrayBuffer(): Promise<ArrayBuffer> {
    return blobBytes(this).slice().buffer;
  }
  async bytes(): Promise<Uint8Array> {
    return blobBytes(this).slice();
  }
  stream(): ReadableStream<Uint8Array> {
    const bytes = blobBytes(this);
    let at = 0;
    return new ReadableStream({
      type: 'bytes',
      pull(controller) {
        if (at >= bytes.length) {
          controller.close();
          controller.byobRequest?.respond(0);
          return;
        }
        const chunk = bytes.slice(at, at + 65536);
        at += chunk.length;
        controller.enqueue(chunk);
      },
    });
  }
}
tag(Blob, 'Blob');

class File extends Blob {
  readonly name: string;
  readonly lastModified: number;
  readonly webkitRelativePath = '';
  constructor(parts: Iterable<unknown>, name: string, options: { type?: string; lastModified?: number } = {}) {
    if (arguments.length < 2) throw new TypeError('A File needs parts and a name');
    super(parts, options);
    this.name = String(name).toWellFormed();
    this.lastModified = Number(options?.lastModified ?? Date.now());
  }
}
tag(File, 'File');

type Value = string | File;
class FormData {
  #entries: [string, Value][] = [];
  #entry(name: unknown, value: unknown, filename?: unknown): [string, Value] {
    const key = String(name).toWellFormed();
    if (!(value instanceof Blob)) return [key, String(value).toWellFormed()];
    const known = value instanceof File ? value.name : 'blob';
    if (value instanceof File && filename === undefined) return [key, value];
    const options = { type: value.type, ...(value instanceof File ? { lastModified: value.lastModified } : {}) };
    return [key, new File([value], filename === undefined ? known : String(filename), options)];
  }
  append(name: string, value: unknown, filename?: string) {
    this.#entries.push(this.#entry(name, value, filename));
  }
  set(name: string, value: unknown, filename?: string) {
    const entry = this.#entry(name, value, filename);
    const first = this.#entries.findIndex(([key]) => key === entry[0]);
    if (first < 0) this.#entries.push(entry);
    else {
      this.#entries = this.#entries.filter(([key], i) => i <= first || key !== entry[0]);
      this.#entries[first] = entry;
    }
  }
  delete(name: string) {
    this.#entries = this.#entries.filter(([key]) => key !== String(name));
  }
  get(name: string): Value | null {
    return this.#entries.find(([key]) => key === String(name))?.[1] ?? null;
  }
  getAll(name: string): Value[] {
    return this.#entries.filter(([key]) => key === String(name)).map(([, value]) => value);
  }
  has(name: string): boolean {
    return this.#entries.some(([key]) => key === String(name));
  }
  forEach(callback: (value: Value, name: string, data: FormData) => void, self?: unknown) {
    for (const [name, value] of this) callback.call(self, value, name, this);
  }
  *entries(): IterableIterator<[string, Value]> {
    for (const [name, value] of this.#entries) yield [name, value];
  }
  *keys() {
    for (const [name] of this.entries()) yield name;
  }
  *values() {
    for (const [, value] of this.entries()) yield value;
  }
  [Symbol.iterator]() {
    return this.entries();
  }
}
tag(FormData, 'FormData');

const quote = (name: string) => name.replace(/\r\n|\r|\n/g, '%0D%0A').replaceAll('"', '%22');

/** RFC 7578 as the HTML standard writes it. */
export function toMultipart(form: FormData): { bytes: Uint8Array<ArrayBuffer>; type: string } {
  const boundary = `----run402FormBoundary${crypto.randomUUID().replaceAll('-', '')}`;
  const parts: Uint8Array[] = [];
  for (const [name, value] of form) {
    const disposition = `--${boundary}\r\nContent-Disposition: form-data; name="${quote(name)}"`;
    if (typeof value === 'string') {
      parts.push(encode(`${disposition}\r\n\r\n${value.replace(/\r\n?|\n/g, '\r\n')}\r\n`));
    } else {
      const type = value.type || 'application/octet-stream';
      parts.push(encode(`${disposition}; filename="${quote(value.name)}"\r\nContent-Type: ${type}\r\n\r\n`));
      parts.push(blobBytes(value), encode('\r\n'));
    }
  }
  parts.push(encode(`--${boundary}--\r\n`));
  return { bytes: concat(parts), type: `multipart/form-data; boundary=${boundary}` };
}

const parameter = (header: string, name: string): string | undefined => {
  const match = new RegExp(`[;\\s]${name}=(?:"((?:[^"\\\\]|\\\\.)*)"|([^;\\s]+))`, 'i').exec(header);
  return match?.[1] ?? match?.[2];
};
const unquote = (text: string) =>
  text.replace(/%0D%0A/gi, '\r\n').replace(/%22/g, '"').replace(/\\(["\\])/g, '$1');

export function parseForm(bytes: Uint8Array<ArrayBuffer>, contentType: string): FormData {
  const form = new FormData();
  if (/^application\/x-www-form-urlencoded\b/i.test(contentType)) {
    for (const [name, value] of new URLSearchParams(decode(bytes))) form.append(name, value);
    return form;
  }
  const boundary = /^multipart\/form-data\b/i.test(contentType) ? parameter(contentType, 'boundary') : undefined;
  if (boundary === undefined) throw new TypeError('The body is not a form: its content type says neither multipart nor urlencoded');
  // One character a byte, so that the search for boundaries runs at the engine's native speed.
  const text = host.latin1(bytes);
  const mark = `--${host.latin1(encode(boundary))}`;
  const broken = () => new TypeError('The multipart body is malformed');
  let at = text.startsWith(mark) ? mark.length : text.indexOf(`\r\n${mark}`);
  if (at < 0) throw broken();
  if (at !== mark.length) at += mark.length + 2;
  while (!text.startsWith('--', at)) {
    if (!text.startsWith('\r\n', at)) throw broken();
    const headEnd = text.indexOf('\r\n\r\n', at);
    if (headEnd < 0) throw broken();
    const body = headEnd + 4;
    const next = text.indexOf(`\r\n${mark}`, body);
    if (next < 0) throw broken();
    const head = decode(bytes.subarray(at + 2, headEnd));
    const disposition = /^content-disposition:(.*)$/im.exec(head)?.[1] ?? '';
    const name = parameter(disposition, 'name');
    if (name === undefined) throw broken();
    const filename = parameter(disposition, 'filename');
    if (filename === undefined) form.append(unquote(name), decode(bytes.subarray(body, next)));
    else {
      const type = /^content-type:\s*(.*?)\s*$/im.exec(head)?.[1] ?? 'text/plain';
      form.append(unquote(name), new File([bytes.subarray(body, next)], unquote(filename), { type }));
    }
    at = next + 2 + mark.length;
  }
  return form;
}

install({ Blob, File, FormData });
export { Blob, File, FormData };
