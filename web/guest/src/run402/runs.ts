// Durable runs, from both sides: creating them, and handlers that receive them. Contract 05 §10.5 and §6.
import { config } from './config';
import { getCurrentContext } from './context';
import { failure } from './events';
import { isRecord, type Json, remember, textOr } from './errors';
import { header } from './headers';

export class Run402FunctionRunInputError extends Error {
  readonly code = 'R402_FUNCTION_RUN_INVALID_INPUT';
  readonly field: string | undefined;
  constructor(message: string, field?: string) {
    super(message);
    this.field = field;
    remember(this, 'Run402FunctionRunInputError');
  }
}

export class Run402FunctionRunContextError extends Error {
  readonly code = 'R402_FUNCTION_RUN_MISSING_CONTEXT';
  constructor(message = 'functions.runs.create() works only while a function handles a request') {
    super(message);
    remember(this, 'Run402FunctionRunContextError');
  }
}

export class Run402FunctionRunPlatformError extends Error {
  readonly code: string;
  readonly status: number;
  readonly body: unknown;
  constructor(status: number, body: unknown, message: string) {
    super(message);
    const told: Json = isRecord(body) ? body : {};
    this.code = textOr(told.code, textOr(told.error, 'function_run_platform_error'));
    this.status = status;
    this.body = body;
    remember(this, 'Run402FunctionRunPlatformError');
  }
}

interface FailureOptions {
  code: string;
  retryable: boolean;
  status: number;
  details?: Json;
}

export class Run402FunctionRunFailure extends Error {
  readonly code: string;
  readonly retryable: boolean;
  readonly status: number;
  readonly details: Json | undefined;
  constructor(message: string, options: FailureOptions) {
    super(message);
    this.code = options.code;
    this.retryable = options.retryable;
    this.status = options.status;
    this.details = options.details;
    remember(this, 'Run402FunctionRunFailure');
  }
}

export const permanentFunctionRunError = (message: string, code = 'function_run_permanent_error', details?: Json) =>
  new Run402FunctionRunFailure(message, { code, retryable: false, status: 400, ...(details === undefined ? {} : { details }) });
export const retryableFunctionRunError = (message: string, code = 'function_run_retryable_error', details?: Json) =>
  new Run402FunctionRunFailure(message, { code, retryable: true, status: 500, ...(details === undefined ? {} : { details }) });

// What comes in.

interface Envelope {
  trigger: 'function_run';
  run_id: string;
  generation: number;
  event_type: string;
  idempotency_key: string;
  run_at: string;
  attempt: { attempt_id: string; number: number; max: number };
  source: Json & { type: string };
  payload: Json;
}

function object(value: unknown, field: string): Json {
  if (!isRecord(value)) throw new Run402FunctionRunInputError(`${field} is not a JSON object`, field);
  return value;
}
function filled(value: unknown, field: string): string {
  if (typeof value !== 'string' || value === '') throw new Run402FunctionRunInputError(`${field} is not a text, or empty`, field);
  return value;
}
function positive(value: unknown, field: string): number {
  if (typeof value !== 'number' || !Number.isInteger(value) || value < 1) throw new Run402FunctionRunInputError(`${field} is not a positive whole number`, field);
  return value;
}
function moment(value: unknown, field: string): string {
  const time = value instanceof Date ? value : new Date(filled(value, field));
  if (Number.isNaN(time.getTime())) throw new Run402FunctionRunInputError(`${field} is not an ISO-8601 time`, field);
  return time.toISOString();
}

export function parseFunctionRunEnvelope(input: unknown): Envelope {
  const given = object(input, 'function run envelope');
  if (given.trigger !== 'function_run') throw new Run402FunctionRunInputError('trigger is not "function_run"', 'trigger');
  const run_id = filled(given.run_id, 'run_id');
  const generation = positive(given.generation, 'generation');
  const event_type = filled(given.event_type, 'event_type');
  const idempotency_key = filled(given.idempotency_key, 'idempotency_key');
  const run_at = moment(filled(given.run_at, 'run_at'), 'run_at');
  const attempt = object(given.attempt, 'attempt');
  const source = object(given.source, 'source');
  return {
    trigger: 'function_run',
    run_id,
    generation,
    event_type,
    idempotency_key,
    run_at,
    attempt: {
      attempt_id: filled(attempt.attempt_id, 'attempt.attempt_id'),
      number: positive(attempt.number, 'attempt.number'),
      max: positive(attempt.max, 'attempt.max'),
    },
    source: { ...source, type: filled(source.type, 'source.type') },
    payload: given.payload === undefined ? {} : object(given.payload, 'payload'),
  };
}

export async function parseFunctionRun(input: unknown): Promise<Envelope> {
  if (!(input instanceof Request)) return parseFunctionRunEnvelope(input);
  let body: unknown;
  try {
    body = await input.json();
  } catch (error) {
    throw new Run402FunctionRunInputError(`The body of the request is not JSON: ${error instanceof Error ? error.message : String(error)}`, 'body');
  }
  return parseFunctionRunEnvelope(body);
}

export function isFunctionRun(input: unknown): boolean {
  try {
    parseFunctionRunEnvelope(input);
    return true;
  } catch {
    return false;
  }
}

// Handlers.

type Handled = Response | Json | null | undefined | void;
type RunFunction = (context: Json, payload: unknown, envelope: Envelope) => Handled | Promise<Handled>;
interface Definition {
  payload?: unknown;
  run: RunFunction;
}

const asJson = (value: unknown, status = 200) =>
  new Response(JSON.stringify(value), { status, headers: { 'content-type': 'application/json; charset=utf-8' } });
const refused = (error: string, message: string, more: Json = {}) => asJson({ error, message, ...more, retryable: false }, 400);
const sentence = (error: unknown) => (error instanceof Error ? error.message : String(error));

/** The payload a validator lets through: a function, or what has `safeParse` or `parse`. */
async function validated(validator: unknown, payload: Json): Promise<unknown> {
  if (validator === undefined || validator === null) return payload;
  if (typeof validator === 'function') return (validator as (value: unknown) => unknown)(payload);
  const schema = validator as { safeParse?: (value: unknown) => { success: boolean; data?: unknown; error?: unknown }; parse?: (value: unknown) => unknown };
  if (typeof schema.safeParse === 'function') {
    const result = await schema.safeParse(payload);
    if (!result.success) throw result.error;
    return result.data;
  }
  if (typeof schema.parse === 'function') return schema.parse(payload);
  return payload;
}

export function defineFunctionRuns(handlers: Record<string, RunFunction | Definition>): (input: unknown) => Promise<Response> {
  return async (input) => {
    let envelope: Envelope;
    try {
      envelope = await parseFunctionRun(input);
    } catch (error) {
      return refused('function_run_invalid_envelope', sentence(error));
    }
    const event = envelope.event_type;
    const handler = Object.hasOwn(handlers, event) ? handlers[event] : undefined;
    if (handler === undefined) return refused('function_run_unknown_event', `This function has no handler for runs of type "${event}"`, { event_type: event });
    const run = typeof handler === 'function' ? handler : handler.run.bind(handler);
    let payload: unknown = envelope.payload;
    try {
      if (typeof handler !== 'function') payload = await validated(handler.payload, envelope.payload);
    } catch (error) {
      return refused('function_run_invalid_payload', sentence(error));
    }
    try {
      return answered(await run(handlerContext(envelope), payload, envelope));
    } catch (error) {
      if (!(error instanceof Run402FunctionRunFailure)) throw error;
      const { code, message, retryable, details, status } = error;
      return asJson({ error: code, message, retryable, ...(details === undefined ? {} : { details }) }, status);
    }
  };
}

function answered(result: Handled): Response {
  if (result instanceof Response) return result;
  return result === undefined || result === null ? new Response(null, { status: 204 }) : asJson(result);
}

function handlerContext(envelope: Envelope): Json {
  const { run_id, generation, event_type, run_at, source, attempt, idempotency_key } = envelope;
  return {
    run: { id: run_id, generation, eventType: event_type, event_type, runAt: run_at, run_at, source, envelope },
    attempt: { id: attempt.attempt_id, attempt_id: attempt.attempt_id, number: attempt.number, max: attempt.max },
    idempotency: { key: idempotency_key, fromParts },
    functions,
  };
}

// What goes out.

type Part = string | number | boolean | null | undefined;

function fromParts(...parts: Part[]): string {
  const kept = parts.filter((part) => part !== null && part !== undefined && part !== '');
  if (kept.length === 0) throw new Run402FunctionRunInputError('An idempotency key needs at least one part that is not empty', 'idempotency');
  return kept.map((part) => encodeURIComponent(String(part))).join(':');
}

const UNITS: Record<string, number> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86_400 };

/** Whole seconds of `90`, `10m`, `1.5h`, `500ms`; what is less than a second counts as one. */
function seconds(value: unknown, field: string): number {
  let found = typeof value === 'number' ? value : Number.NaN;
  if (typeof value === 'string') {
    const match = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/.exec(value.trim());
    if (match !== null) found = Number(match[1]) * (UNITS[match[2] as string] as number);
  }
  if (!Number.isFinite(found) || found < 0) throw new Run402FunctionRunInputError(`${field} is no duration: give seconds, or a text such as "10m", "1h", "3d"`, field);
  return Math.ceil(found);
}

interface CreateOptions {
  eventType: string;
  idempotencyKey?: string;
  payload?: Json;
  runAt?: string | Date;
  delay?: string | number;
  delaySeconds?: number;
  expiresAt?: string | Date;
  expiresAfter?: string | number;
  retry?: Json;
}

const SPELLINGS: Record<string, string> = { maxAttempts: 'max_attempts', minDelaySeconds: 'min_delay_seconds', maxDelaySeconds: 'max_delay_seconds' };

/** The retry policy in the wire's spelling. */
function policy(retry: Json): Json {
  const out: Json = {};
  for (const [key, value] of Object.entries(retry)) if (!Object.hasOwn(SPELLINGS, key)) out[key] = value;
  for (const [key, wire] of Object.entries(SPELLINGS)) if (retry[key] !== undefined) out[wire] = retry[key];
  return out;
}

function creation(options: CreateOptions): Json {
  const input = (message: string, field?: string) => new Run402FunctionRunInputError(message, field);
  if (!isRecord(options)) throw input('functions.runs.create() needs options: { eventType, idempotencyKey, … }');
  const { eventType, idempotencyKey, payload, runAt, delay, delaySeconds, expiresAt, expiresAfter, retry } = options as CreateOptions;
  if (typeof eventType !== 'string' || eventType === '') throw input('eventType is missing', 'eventType');
  if (typeof idempotencyKey !== 'string' || idempotencyKey === '') throw input('idempotencyKey is missing', 'idempotencyKey');
  if (payload !== undefined && !isRecord(payload)) throw input('payload is not a JSON object', 'payload');
  if (delay !== undefined && delaySeconds !== undefined) throw input('Give delay or delaySeconds, not both', 'delay');
  const delayed = delay !== undefined || delaySeconds !== undefined;
  if (runAt !== undefined && delayed) throw input('Give runAt or a delay, not both', 'runAt');
  const body: Json = { event_type: eventType, idempotency_key: idempotencyKey };
  if (payload !== undefined) body.payload = payload;
  let start = Date.now();
  if (runAt !== undefined) {
    body.run_at = moment(runAt, 'runAt');
    start = Date.parse(body.run_at as string);
  } else if (delayed) {
    const wait = delay !== undefined ? seconds(delay, 'delay') : seconds(delaySeconds, 'delaySeconds');
    body.delay_seconds = wait;
    start += wait * 1000;
  }
  if (expiresAfter !== undefined) body.expires_at = new Date(Date.now() + seconds(expiresAfter, 'expiresAfter') * 1000).toISOString();
  else if (expiresAt !== undefined) body.expires_at = moment(expiresAt, 'expiresAt');
  if (body.expires_at !== undefined && Date.parse(body.expires_at as string) <= start) throw input('A run that expires before it starts cannot run', 'expiresAt');
  if (retry !== undefined && retry !== null) body.retry = policy(isRecord(retry) ? retry : {});
  return body;
}

async function create(name: string, options: CreateOptions): Promise<Json> {
  const context = getCurrentContext();
  if (context === undefined || !context.active.value) throw new Run402FunctionRunContextError();
  if (!context.projectId) throw new Run402FunctionRunContextError('The request that is handled has no project id');
  if (config.serviceKey === '') throw new Run402FunctionRunContextError('functions.runs.create() needs RUN402_SERVICE_KEY in the environment of the function');
  const body = creation(options);
  const headers: Record<string, string> = {
    Authorization: `Bearer ${config.serviceKey}`,
    'Content-Type': 'application/json',
    'Idempotency-Key': body.idempotency_key as string,
  };
  const run = header(context.request.headers, 'x-run402-run-id');
  const attempt = header(context.request.headers, 'x-run402-attempt-id');
  if (run) headers['X-Run402-Parent-Run-Id'] = run;
  if (attempt) headers['X-Run402-Parent-Attempt-Id'] = attempt;
  const response = await fetch(`${config.base}/functions/v1/${encodeURIComponent(name)}/runs`, { method: 'POST', headers, body: JSON.stringify(body) });
  if (response.ok) return (await response.json()) as Json;
  const told = failure(await response.text(), 'the platform refused the run');
  throw new Run402FunctionRunPlatformError(response.status, told.body, `Function run creation failed (${response.status}): ${told.message}`);
}

export const functions = {
  isFunctionRun,
  parseFunctionRun,
  parseFunctionRunEnvelope,
  idempotency: { fromParts },
  runs: { create },
};
