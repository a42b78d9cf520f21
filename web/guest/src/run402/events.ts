// events.emit(). Contract 05 §10.4.
import { config, post } from './config';
import { isRecord, type Json, recordOf, remember, textOr } from './errors';

export class Run402EventsPlatformError extends Error {
  readonly code: string;
  readonly status: number;
  readonly details: Json | undefined;
  readonly next_actions: unknown[] | undefined;
  readonly body: unknown;
  constructor(status: number, body: unknown, message: string) {
    super(message);
    const told: Json = isRecord(body) ? body : {};
    this.code = textOr(told.code, textOr(told.error, 'events_platform_error'));
    this.status = status;
    this.details = isRecord(told.details) ? told.details : undefined;
    this.next_actions = Array.isArray(told.next_actions) ? told.next_actions : undefined;
    this.body = body;
    remember(this, 'Run402EventsPlatformError');
  }
}

/** The body of a failed answer as an object, and the sentence in it. */
export function failure(text: string, otherwise: string): { body: Json; message: string } {
  const body = recordOf(text) ?? (text === '' ? {} : { message: text });
  return { body, message: textOr(body.message, textOr(body.error, otherwise)) };
}

export const events = {
  async emit(type: string, payload?: Json, options: { idempotencyKey?: string } = {}): Promise<Json> {
    const response = await post(`/projects/v1/${config.project}/events`, { event_type: type, payload, idempotency_key: options?.idempotencyKey });
    if (response.ok) return (await response.json()) as Json;
    const { body, message } = failure(await response.text(), 'the platform refused the event');
    throw new Run402EventsPlatformError(response.status, body, `Event emit failed (${response.status}): ${message}`);
  },
};
