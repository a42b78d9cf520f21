// verifyWebhook(). Contract 05 §10.5.
import { Buffer } from './bytes';
import { createHmac, timingSafeEqual } from '../node/crypto';
import { header } from './headers';

interface Options {
  toleranceSeconds?: number;
  previousSecret?: string;
  nowSeconds?: () => number;
}
type Result = { valid: true; timestamp: number; secret_used: 'current' | 'previous' } | { valid: false; reason: string };

const refused = (reason: string): Result => ({ valid: false, reason });

/** `t=…,v1=…` in any order, among keys of later versions. */
function fields(text: string): Map<string, string> | undefined {
  const found = new Map<string, string>();
  for (const piece of text.split(',')) {
    const at = piece.indexOf('=');
    if (at > 0) found.set(piece.slice(0, at).trim(), piece.slice(at + 1).trim());
  }
  return found.size > 0 ? found : undefined;
}

export function verifyWebhook(headers: unknown, rawBody: string | Uint8Array, secret: string, options: Options = {}): Result {
  if (typeof headers !== 'object' || headers === null) throw new TypeError('verifyWebhook() takes the headers of the request first');
  const { toleranceSeconds = 300, previousSecret, nowSeconds = () => Math.floor(Date.now() / 1000) } = options;
  const text = header(headers, 'run402-signature');
  if (text === undefined) return refused('missing_signature_header');
  const given = fields(text);
  if (given === undefined) return refused('malformed_signature_header');
  const [time, signature] = [given.get('t'), given.get('v1')];
  if (time === undefined) return refused('missing_timestamp');
  if (signature === undefined) return refused('missing_v1');
  if (!/^\d{1,15}$/.test(time) || !/^[0-9a-f]{64}$/i.test(signature)) return refused('malformed_signature_header');
  const timestamp = Number(time);
  if (Math.abs(nowSeconds() - timestamp) > toleranceSeconds) return refused('timestamp_out_of_tolerance');
  const sent = Buffer.from(signature, 'hex');
  const made = (key: string) => createHmac('sha256', key).update(`${time}.`).update(rawBody).digest() as Uint8Array;
  if (timingSafeEqual(made(secret), sent)) return { valid: true, timestamp, secret_used: 'current' };
  if (previousSecret && timingSafeEqual(made(previousSecret), sent)) return { valid: true, timestamp, secret_used: 'previous' };
  return refused('signature_mismatch');
}
