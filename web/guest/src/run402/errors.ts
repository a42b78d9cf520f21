// What errors and answers of this module share.

export const docs = (code: string): string => `https://run402.com/errors/#${code}`;

/** Names an error as an own property: reports and `JSON.stringify` show it. */
export function remember(error: Error, name: string): void {
  error.name = name;
}

export type Json = Record<string, unknown>;

export const isRecord = (value: unknown): value is Json => typeof value === 'object' && value !== null && !Array.isArray(value);

export const textOr = <T>(value: unknown, other: T): string | T => (typeof value === 'string' && value !== '' ? value : other);

/** The JSON object a text holds, else undefined. */
export function recordOf(text: string): Json | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isRecord(value) ? value : undefined;
  } catch {
    return undefined;
  }
}
