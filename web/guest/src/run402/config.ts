// Where the platform is and who this project is. Read at every call: code may change its environment.
import { process } from '../node/process';

const read = (name: string): string => process.env[name] ?? '';

export const config = {
  get base(): string {
    return process.env.RUN402_API_BASE || 'https://api.run402.com';
  },
  get project(): string {
    return read('RUN402_PROJECT_ID');
  },
  get serviceKey(): string {
    return read('RUN402_SERVICE_KEY');
  },
  get anonKey(): string {
    return read('RUN402_ANON_KEY');
  },
};

/** A JSON request with the service key. */
export function post(path: string, body: unknown): Promise<Response> {
  return fetch(config.base + path, {
    method: 'POST',
    headers: { Authorization: `Bearer ${config.serviceKey}`, 'Content-Type': 'application/json' },
    body: JSON.stringify(body),
  });
}
