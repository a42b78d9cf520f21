// What readable-stream calls `process/`: the one of the prelude may not exist yet when it loads.
export const nextTick = (callback: (...args: unknown[]) => void, ...args: unknown[]) => queueMicrotask(() => callback(...args));
export default { nextTick, env: {}, platform: 'linux', version: 'v22.0.0', versions: { node: '22.0.0' } };
