// What errors of this module share.

export const docs = (code: string): string => `https://run402.com/errors/#${code}`;

/** Names an error as an own property: reports and `JSON.stringify` show it. */
export function remember(error: Error, name: string): void {
  error.name = name;
}
