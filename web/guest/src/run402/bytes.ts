// Node's Buffer as far as this module uses it: text, base64 and hex.
import { Buffer as prelude } from 'buffer';

type Bytes = Uint8Array<ArrayBuffer> & { toString(encoding: 'utf8' | 'base64' | 'base64url' | 'hex'): string };

export const Buffer = prelude as {
  from(content: string | Uint8Array | ArrayBuffer, encoding?: 'utf8' | 'base64' | 'base64url' | 'hex'): Bytes;
};
