// db(), adminDb() and the query builder. Contract 05 §10.1.
import { config } from './config';
import { getCurrentContext, type RequestContext } from './context';
import { docs, isRecord, recordOf, remember, textOr } from './errors';
import { header } from './headers';
import { sqlResult, type SqlResult } from './sql-result';

type Row = Record<string, unknown>;
type Scalar = string | number;
type DbErrorCode = 'R402_DB_QUERY_ERROR' | 'R402_DB_SQL_ERROR';

interface ErrorFields {
  status: number;
  trace_id: string | null;
  remote_code: string | null;
  body: unknown;
}

export class R402DbError extends Error {
  readonly code: DbErrorCode;
  readonly status: number;
  readonly trace_id: string | null;
  readonly remote_code: string | null;
  readonly body: unknown;
  readonly docs = docs('R402_DB_ERROR');
  constructor(code: DbErrorCode, message: string, fields: ErrorFields) {
    super(message);
    this.code = code;
    this.status = fields.status;
    this.trace_id = fields.trace_id;
    this.remote_code = fields.remote_code;
    this.body = fields.body;
    remember(this, 'R402DbError');
  }
}

/** Texts of errors have few forms, so that monitors can group them; what varies is in the properties. */
function dbError(code: DbErrorCode, prefix: string, status: number, text: string): R402DbError {
  const body = recordOf(text);
  if (body === undefined) {
    return new R402DbError(code, `${prefix} (${status}): ${text}`, { status, trace_id: null, remote_code: null, body: text });
  }
  const remote_code = textOr(body.code, textOr(body.error, '<envelope>'));
  return new R402DbError(code, `${prefix} (${status}): ${remote_code}`, { status, trace_id: textOr(body.trace_id, null), remote_code, body });
}

/** How long a table service that is away is asked again. */
const PATIENCE_MS = 20_000;
const pause = (ms: number) => new Promise((done) => setTimeout(done, ms));

/** Sends until the service is there. The platform knows its tables at once, so only 503 is worth another try. */
async function patiently(send: () => Promise<Response>): Promise<Response> {
  const until = performance.now() + PATIENCE_MS;
  for (let attempt = 1; ; attempt++) {
    const response = await send();
    const wait = Math.min(500, 100 * attempt);
    if (response.status !== 503 || performance.now() + wait > until) return response;
    await response.body?.cancel();
    await pause(wait);
  }
}

interface BuilderOptions {
  apikey: string;
  authorization: string | undefined;
  basePath: string;
}

type Wanted = 'rows' | 'single' | 'maybeSingle';
type Fulfil<T> = ((value: T) => unknown) | null | undefined;
type Refuse = ((reason: unknown) => unknown) | null | undefined;

export class QueryBuilder implements PromiseLike<Row[]> {
  readonly #table: string;
  readonly #options: BuilderOptions;
  readonly #query = new URLSearchParams();
  #method = 'GET';
  #body: unknown;
  constructor(table: string, options: BuilderOptions) {
    this.#table = table;
    this.#options = options;
  }
  select(columns = '*'): this {
    this.#query.set('select', columns);
    return this;
  }
  #filter(column: string, operator: string, value: unknown): this {
    this.#query.append(column, `${operator}.${String(value)}`);
    return this;
  }
  eq(column: string, value: Scalar): this {
    return this.#filter(column, 'eq', value);
  }
  neq(column: string, value: Scalar): this {
    return this.#filter(column, 'neq', value);
  }
  gt(column: string, value: Scalar): this {
    return this.#filter(column, 'gt', value);
  }
  lt(column: string, value: Scalar): this {
    return this.#filter(column, 'lt', value);
  }
  gte(column: string, value: Scalar): this {
    return this.#filter(column, 'gte', value);
  }
  lte(column: string, value: Scalar): this {
    return this.#filter(column, 'lte', value);
  }
  like(column: string, pattern: string): this {
    return this.#filter(column, 'like', pattern);
  }
  ilike(column: string, pattern: string): this {
    return this.#filter(column, 'ilike', pattern);
  }
  in(column: string, values: Scalar[]): this {
    return this.#filter(column, 'in', `(${values.join(',')})`);
  }
  order(column: string, { ascending = true }: { ascending?: boolean } = {}): this {
    this.#query.append('order', `${column}.${ascending ? 'asc' : 'desc'}`);
    return this;
  }
  limit(count: number): this {
    this.#query.set('limit', String(count));
    return this;
  }
  offset(count: number): this {
    this.#query.set('offset', String(count));
    return this;
  }
  single(): PromiseLike<Row> {
    return this.#later<Row>('single');
  }
  maybeSingle(): PromiseLike<Row | null> {
    return this.#later<Row | null>('maybeSingle');
  }
  insert(data: Row | Row[]): this {
    this.#method = 'POST';
    this.#body = Array.isArray(data) ? data : [data];
    return this;
  }
  update(data: Row): this {
    this.#method = 'PATCH';
    this.#body = data;
    return this;
  }
  delete(): this {
    this.#method = 'DELETE';
    return this;
  }
  // biome-ignore lint/suspicious/noThenProperty: awaiting a query runs it
  then<A = Row[], B = never>(fulfil?: ((value: Row[]) => A | PromiseLike<A>) | null, refuse?: ((reason: unknown) => B | PromiseLike<B>) | null): Promise<A | B> {
    return (this.#run('rows') as Promise<Row[]>).then(fulfil, refuse);
  }
  #later<T>(wanted: Wanted): PromiseLike<T> {
    const run = () => this.#run(wanted) as Promise<T>;
    return {
      // biome-ignore lint/suspicious/noThenProperty: the same
      then: ((fulfil: Fulfil<T>, refuse: Refuse) => run().then(fulfil, refuse)) as PromiseLike<T>['then'],
    };
  }
  async #run(wanted: Wanted): Promise<unknown> {
    const { apikey, authorization, basePath } = this.#options;
    const query = this.#query.toString();
    const url = `${config.base}${basePath}/${this.#table}${query === '' ? '' : `?${query}`}`;
    const headers: Record<string, string> = { apikey, 'Content-Type': 'application/json', Prefer: 'return=representation' };
    if (authorization !== undefined) headers.Authorization = authorization;
    const init = { method: this.#method, headers, body: this.#body === undefined ? undefined : JSON.stringify(this.#body) };
    const response = await patiently(() => fetch(url, init));
    if (!response.ok) throw dbError('R402_DB_QUERY_ERROR', 'PostgREST error', response.status, await response.text());
    const rows = (await response.json()) as unknown;
    if (wanted === 'rows') return rows;
    const count = Array.isArray(rows) ? rows.length : 1;
    if (count === 1) return Array.isArray(rows) ? rows[0] : rows;
    if (count === 0 && wanted === 'maybeSingle') return null;
    const message = `PostgREST error (406): ${wanted}() got ${count === 0 ? '0' : 'multiple'} rows`;
    throw new R402DbError('R402_DB_QUERY_ERROR', message, { status: 406, trace_id: null, remote_code: null, body: { rows: count } });
  }
}

/** The caller's credentials: the platform's token for a verified actor goes first, and stands alone. */
function contextAuthorization(context: RequestContext): string | undefined {
  const { headers } = context.request;
  const token = header(headers, 'x-run402-actor-token');
  if (token !== undefined) return `Bearer ${token}`;
  return context.actor === null ? header(headers, 'authorization') : undefined;
}

function requestAuthorization(request: Request): string | undefined {
  const given = request.headers.get('authorization');
  if (given !== null) return given;
  const token = request.headers.get('x-run402-actor-token');
  return token === null ? undefined : `Bearer ${token}`;
}

export function db(request?: Request): { from(table: string): QueryBuilder } {
  const context = getCurrentContext();
  const authorization =
    request !== undefined && request !== null ? requestAuthorization(request) : context === undefined ? undefined : contextAuthorization(context);
  return {
    from(table) {
      const apikey = config.anonKey;
      if (apikey === '') throw new Error('db() needs RUN402_ANON_KEY in the environment of the function');
      return new QueryBuilder(table, { apikey, authorization, basePath: '/rest/v1' });
    },
  };
}

async function sql(query: string, params?: unknown[]): Promise<SqlResult> {
  const plain = params === undefined || params === null || params.length === 0;
  const response = await fetch(`${config.base}/projects/v1/admin/${config.project}/sql`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${config.serviceKey}`, 'Content-Type': plain ? 'text/plain' : 'application/json' },
    body: plain ? query : JSON.stringify({ sql: query, params }),
  });
  if (!response.ok) throw dbError('R402_DB_SQL_ERROR', 'SQL error', response.status, await response.text());
  const envelope: unknown = await response.json();
  return (isRecord(envelope) ? sqlResult(envelope) : envelope) as SqlResult;
}

export function adminDb(): { from(table: string): QueryBuilder; sql: typeof sql } {
  const apikey = config.serviceKey;
  if (apikey === '') throw new Error('adminDb() needs RUN402_SERVICE_KEY in the environment of the function');
  return {
    from: (table) => new QueryBuilder(table, { apikey, authorization: `Bearer ${apikey}`, basePath: '/admin/v1/rest' }),
    sql,
  };
}
