// ai.translate(), ai.moderate(), ai.generateImage(). Contract 05 §10.2.
import { post } from './config';
import { isRecord, type Json, recordOf, textOr } from './errors';

async function answered(response: Response, what: string): Promise<Json> {
  if (response.ok) return (await response.json()) as Json;
  const body = await response.text();
  throw new Error(`${what} failed (${response.status}): ${textOr(recordOf(body)?.error, body)}`);
}

/** `<code>: <message>` of a failed answer, with what there is of both. */
export function refusal(body: string): string {
  const told = recordOf(body);
  if (told === undefined) return body;
  const message = textOr(told.message, textOr(told.error, body));
  const code = textOr(told.code, '');
  return code === '' ? message : `${code}: ${message}`;
}

const ASPECTS = ['square', 'landscape', 'portrait'];

export const ai = {
  async translate(text: string, to: string, options?: { from?: string; context?: string }): Promise<Json> {
    const { from, context } = options ?? {};
    return answered(await post('/ai/v1/translate', { text, to, from, context }), 'Translation');
  },
  async moderate(text: string): Promise<Json> {
    return answered(await post('/ai/v1/moderate', { text }), 'Moderation');
  },
  async generateImage(options: { prompt: string; aspect?: string }): Promise<Json> {
    if (!isRecord(options)) throw new Error('generateImage() needs options: { prompt, aspect? }');
    const { prompt, aspect = 'square' } = options;
    if (typeof prompt !== 'string' || prompt.trim() === '') throw new Error('generateImage() needs a prompt');
    if (!ASPECTS.includes(aspect)) throw new Error(`The aspect of an image is one of: ${ASPECTS.join(', ')}`);
    const response = await post('/generate-image/v1', { prompt: prompt.trim(), aspect });
    if (response.ok) return (await response.json()) as Json;
    throw new Error(`Image generation failed (${response.status}): ${refusal(await response.text())}`);
  },
};
