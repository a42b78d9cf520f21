// Shapes of the bundled packages that ship no types, as far as the prelude uses them.
declare module 'buffer' {
  export const Buffer: unknown;
  export const kMaxLength: number;
}
declare module 'events' {
  type Listener = (...args: unknown[]) => void;
  export class EventEmitter {
    on(name: string, listener: Listener): this;
    off(name: string, listener: Listener): this;
    once(name: string, listener: Listener): this;
    emit(name: string, ...args: unknown[]): boolean;
    listeners(name: string): Listener[];
    getMaxListeners(): number;
    setMaxListeners(count: number): this;
  }
  export function once(emitter: EventEmitter, name: string): Promise<unknown[]>;
  export default EventEmitter;
}
declare module 'string_decoder' {
  export const StringDecoder: unknown;
}
declare module 'readable-stream';
declare module 'urlpattern-polyfill';
