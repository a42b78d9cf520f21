// assets.put(), list(), fromRef(). Contract 05 §10.3.
import { Buffer } from './bytes';
import { encode } from '../host';
import { refusal } from './ai';
import { config } from './config';
import { isRecord, type Json, textOr } from './errors';

type Source = string | Uint8Array | { content?: string; bytes?: Uint8Array };

interface PutOptions {
  contentType?: string;
  visibility?: string;
  immutable?: boolean;
  metadata?: Json;
  exifPolicy?: string;
}

const MAX_METADATA_BYTES = 4096;
const UTF8 = '; charset=utf-8';
const TYPES: Record<string, string> = {
  txt: `text/plain${UTF8}`,
  html: `text/html${UTF8}`,
  css: `text/css${UTF8}`,
  js: `text/javascript${UTF8}`,
  md: `text/markdown${UTF8}`,
  json: 'application/json',
  png: 'image/png',
  jpg: 'image/jpeg',
  jpeg: 'image/jpeg',
  gif: 'image/gif',
  webp: 'image/webp',
  svg: 'image/svg+xml',
  pdf: 'application/pdf',
  zip: 'application/zip',
  gz: 'application/gzip',
};

function typeOf(key: string): string {
  const extension = /\.([a-z0-9]+)$/i.exec(key)?.[1]?.toLowerCase() ?? '';
  return (Object.hasOwn(TYPES, extension) ? TYPES[extension] : undefined) ?? 'application/octet-stream';
}

function bytesOf(source: unknown): Uint8Array<ArrayBuffer> {
  if (typeof source === 'string') return encode(source);
  if (source instanceof Uint8Array) return source as Uint8Array<ArrayBuffer>;
  if (isRecord(source)) {
    if (typeof source.content === 'string') return encode(source.content);
    if (source.bytes instanceof Uint8Array) return source.bytes as Uint8Array<ArrayBuffer>;
  }
  throw new Error('assets.put takes text, a Uint8Array, { content } or { bytes }');
}

/** Metadata as it travels: flat, small, without nulls. */
function metadataHeader(metadata: unknown): string {
  const bad = (what: string) => new Error(`INVALID_ASSET_METADATA: ${what}`);
  if (!isRecord(metadata)) throw bad('metadata is a flat object');
  const kept: Json = {};
  for (const [key, value] of Object.entries(metadata)) {
    if (value === null || value === undefined) continue;
    if (typeof value === 'number' && !Number.isFinite(value)) throw bad(`metadata.${key} is not a finite number`);
    const list = Array.isArray(value);
    if (list && !value.every((item) => typeof item === 'string')) throw bad(`metadata.${key} may list text only`);
    if (!list && !['string', 'number', 'boolean'].includes(typeof value)) throw bad(`metadata.${key} is a ${typeof value}; text, numbers, booleans and lists of text are possible`);
    kept[key] = value;
  }
  const bytes = encode(JSON.stringify(kept));
  if (bytes.length > MAX_METADATA_BYTES) throw bad(`metadata takes ${bytes.length} bytes as JSON, and may take ${MAX_METADATA_BYTES}`);
  return Buffer.from(bytes).toString('base64url');
}

const text = (value: unknown): string => textOr(value, '');
const orNull = (value: unknown): unknown => value ?? null;

/** Fields of images, handed on when the platform sends them. */
const PASSED_ON = [
  'width_px',
  'height_px',
  'blurhash',
  'blurhash_data_url',
  'variant_spec_version',
  'display_url',
  'display_immutable_url',
  'metadata',
  'image_format',
  'image_info',
  'image_exif',
  'image_exif_policy',
  'asset_schema',
];
const VARIANTS: Record<string, string> = { thumb: 'webp', medium: 'webp', large: 'webp', display_jpeg: 'jpeg' };

function variant(kind: string, given: Json): Json {
  return {
    kind,
    format: text(given.format) || VARIANTS[kind],
    width_px: typeof given.width_px === 'number' ? given.width_px : 0,
    height_px: typeof given.height_px === 'number' ? given.height_px : 0,
    sha256: text(given.sha256),
    url: orNull(given.url),
    immutable_url: orNull(given.immutable_url),
    cdn_url: orNull(given.cdn_url),
    cdn_immutable_url: orNull(given.cdn_immutable_url),
  };
}

/** An asset as code sees it: the wire's names, and the other spellings of some. */
function reference(given: Json): Json {
  const ref: Json = {
    key: text(given.key),
    sha256: text(given.sha256),
    size_bytes: typeof given.size_bytes === 'number' ? given.size_bytes : 0,
    content_type: textOr(given.content_type, 'application/octet-stream'),
    visibility: given.visibility === 'private' ? 'private' : 'public',
    immutable: given.immutable === true,
    url: orNull(given.url),
    immutable_url: orNull(given.immutable_url),
    cdn_url: orNull(given.cdn_url),
    cdn_immutable_url: orNull(given.cdn_immutable_url),
    sri: orNull(given.sri),
    etag: text(given.etag),
    content_digest: text(given.content_digest),
  };
  Object.assign(ref, {
    immutableUrl: ref.immutable_url,
    cdnUrl: ref.cdn_url,
    cdnImmutableUrl: ref.cdn_immutable_url,
    size: ref.size_bytes,
    contentType: ref.content_type,
    contentSha256: ref.sha256,
  });
  for (const name of PASSED_ON) if (given[name] !== undefined) ref[name] = given[name];
  if (isRecord(given.variants)) {
    const { variants } = given;
    ref.variants = Object.fromEntries(Object.keys(VARIANTS).flatMap((kind) => (isRecord(variants[kind]) ? [[kind, variant(kind, variants[kind])]] : [])));
  }
  return ref;
}

async function put(key: string, source: Source, options: PutOptions = {}): Promise<Json> {
  if (typeof key !== 'string' || key === '') throw new Error('assets.put needs a key');
  const bytes = bytesOf(source);
  if (bytes.length === 0) throw new Error('assets.put needs at least one byte');
  const { contentType, visibility = 'public', immutable = true, metadata, exifPolicy = 'keep' } = options ?? {};
  if (exifPolicy !== 'keep' && exifPolicy !== 'strip') throw new Error(`INVALID_EXIF_POLICY: exifPolicy is 'keep' or 'strip', not ${JSON.stringify(exifPolicy)}`);
  const headers: Record<string, string> = {
    Authorization: `Bearer ${config.serviceKey}`,
    'Content-Type': contentType ?? typeOf(key),
    'x-run402-asset-key': key,
    'x-run402-asset-visibility': visibility,
    'x-run402-asset-immutable': String(immutable),
    'x-run402-asset-exif-policy': exifPolicy,
  };
  if (metadata !== undefined) headers['x-run402-asset-metadata'] = metadataHeader(metadata);
  const response = await fetch(`${config.base}/apply/v1/service-asset-put`, { method: 'POST', headers, body: bytes });
  if (!response.ok) throw new Error(`Asset put failed (${response.status}): ${refusal(await response.text())}`);
  return reference((await response.json()) as Json);
}

interface ListOptions {
  prefix?: string;
  limit?: number;
  cursor?: string;
  sort?: string;
  filter?: Json;
}

const SORTS = ['key:asc', 'createdAt:asc', 'createdAt:desc'];
const FILTERS = ['uploaded_by', 'tag', 'format', 'is_image', 'min_width', 'max_width', 'min_height', 'max_height'];

function filterValue(key: string, value: unknown): string {
  const bad = (what: string) => new Error(`INVALID_FILTER_VALUE: filter.${key} is ${what}`);
  if (key === 'is_image' && typeof value !== 'boolean') throw bad('true or false');
  if (/^(min|max)_/.test(key) && !(typeof value === 'number' && Number.isFinite(value))) throw bad('a number');
  return String(value);
}

function row(given: Json): Json {
  return {
    key: text(given.key),
    size_bytes: typeof given.size_bytes === 'number' ? given.size_bytes : Number(given.size_bytes ?? 0),
    content_type: orNull(given.content_type),
    sha256: orNull(given.sha256),
    visibility: given.visibility === 'private' ? 'private' : 'public',
    immutable_suffix: orNull(given.immutable_suffix),
    created_at: text(given.created_at),
    updated_at: text(given.updated_at),
    metadata: orNull(given.metadata),
    width_px: orNull(given.width_px),
    height_px: orNull(given.height_px),
    blurhash: orNull(given.blurhash),
    image_format: orNull(given.image_format),
    image_info: orNull(given.image_info),
    image_exif: orNull(given.image_exif),
    image_exif_policy: orNull(given.image_exif_policy),
  };
}

async function list(options: ListOptions = {}): Promise<Json> {
  const { prefix, limit, cursor, sort = 'key:asc', filter } = options ?? {};
  if (!SORTS.includes(sort)) throw new Error(`INVALID_SORT: sort is one of ${SORTS.join(', ')}, not ${JSON.stringify(sort)}`);
  const query = new URLSearchParams();
  if (prefix) query.set('prefix', prefix);
  if (limit !== undefined && limit !== null) query.set('limit', String(limit));
  if (cursor) query.set('cursor', cursor);
  if (sort !== 'key:asc') query.set('sort', sort);
  for (const [key, value] of Object.entries(filter ?? {})) {
    if (!FILTERS.includes(key)) throw new Error(`INVALID_FILTER_KEY: there is no filter '${key}'; the filters are ${FILTERS.join(', ')}`);
    if (value !== undefined) query.set(`filter.${key}`, filterValue(key, value));
  }
  const search = query.toString();
  const response = await fetch(`${config.base}/storage/v1/blobs${search === '' ? '' : `?${search}`}`, { method: 'GET', headers: { apikey: config.serviceKey } });
  if (!response.ok) throw new Error(`Asset list failed (${response.status}): ${refusal(await response.text())}`);
  const told = (await response.json()) as { blobs?: Json[]; next_cursor?: string | null };
  return { blobs: (told.blobs ?? []).map(row), next_cursor: told.next_cursor ?? null };
}

function fromRef(given: unknown): Json {
  if (!isRecord(given)) throw new Error('assets.fromRef takes an object that describes an asset');
  return reference(given);
}

export const assets = { put, list, fromRef };
