// Answers as routed envelopes, and what the platform's headers tell. Contract 05 §10.5.
import { Buffer } from './bytes';
import { isRecord, type Json } from './errors';
import { header, headersOf } from './headers';

type Pairs = [string, string][];
interface Init {
  status?: number;
  headers?: Pairs;
  cookies?: string[];
}

function envelope(content: Uint8Array, init: Init, type?: string): Json {
  const headers: Pairs = [...(init.headers ?? [])];
  const typed = headers.some(([name]) => name.toLowerCase() === 'content-type');
  if (type !== undefined && !typed) headers.unshift(['content-type', type]);
  return {
    status: init.status ?? 200,
    body: { encoding: 'base64', data: Buffer.from(content).toString('base64'), size: content.length },
    ...(headers.length > 0 ? { headers } : {}),
    ...(init.cookies === undefined ? {} : { cookies: [...init.cookies] }),
  };
}

export const text = (content: string, init: Init = {}): Json => envelope(Buffer.from(content), init, 'text/plain; charset=utf-8');
export const json = (value: unknown, init: Init = {}): Json => envelope(Buffer.from(JSON.stringify(value)), init, 'application/json; charset=utf-8');
export const bytes = (content: Uint8Array | ArrayBuffer | string, init: Init = {}): Json => envelope(Buffer.from(content as Uint8Array), init);
export const isRequest = (value: unknown): boolean => isRecord(value) && value.version === 'run402.routed_http.v1';

export interface PaymentContext {
  scheme: 'x402';
  paymentId: string;
  idempotencyKey: string | null;
  deduplicated: boolean;
  delivery: 'first' | 'replay';
  amountUsdMicros: number;
  payer: string | null;
  network: string;
  asset: string | null;
  payTo: string;
  transaction: string | null;
  settledAt: string;
  contextExpiresAt?: string;
}

const isTime = (value: string | undefined): value is string => value !== undefined && !Number.isNaN(Date.parse(value));

/** The settled payment of a request, from the headers of priced routes; null without one. */
export function getRoutedPaymentContext(source: unknown): PaymentContext | null {
  if (isRequest(source)) return (((source as Json).context as Json | undefined)?.payment as PaymentContext | undefined) ?? null;
  const headers = headersOf(source);
  const read = (name: string) => header(headers, `x-run402-payment-${name}`)?.trim() || undefined;
  const [paymentId, network, payTo, settledAt, expires] = [read('id'), read('network'), read('pay-to'), read('settled-at'), read('context-expires-at')];
  const [delivery, deduplicated, amount] = [read('delivery'), read('deduplicated'), Number(read('amount-usd-micros') ?? Number.NaN)];
  if (read('scheme') !== 'x402' || paymentId === undefined || network === undefined || payTo === undefined || !isTime(settledAt)) return null;
  if ((delivery !== 'first' && delivery !== 'replay') || (deduplicated !== 'true' && deduplicated !== 'false')) return null;
  if (!Number.isSafeInteger(amount) || amount < 0) return null;
  return {
    scheme: 'x402',
    paymentId,
    idempotencyKey: read('idempotency-key') ?? null,
    deduplicated: deduplicated === 'true',
    delivery,
    amountUsdMicros: amount,
    payer: read('payer') ?? null,
    network,
    asset: read('asset') ?? null,
    payTo,
    transaction: read('transaction') ?? null,
    settledAt,
    ...(isTime(expires) ? { contextExpiresAt: expires } : {}),
  };
}

export const routedHttp = { text, json, bytes, isRequest, paymentContext: getRoutedPaymentContext };

/** Never throws; what is absent is null. */
export function getRun402Context(source: unknown) {
  const headers = headersOf(source);
  const read = (name: string) => header(headers, `x-run402-${name}`)?.trim() || null;
  return {
    requestId: read('request-id'),
    projectId: read('project-id'),
    releaseId: read('release-id'),
    host: read('host'),
    locale: read('locale'),
    defaultLocale: read('default-locale'),
    idempotencyKey: read('idempotency-key'),
  };
}
