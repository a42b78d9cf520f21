export const { AbortController, AbortSignal } = globalThis;
export default AbortController;
