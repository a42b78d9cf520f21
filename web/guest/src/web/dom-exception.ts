import { install, tag } from '../host';

const CODES: Record<string, number> = {
  IndexSizeError: 1,
  HierarchyRequestError: 3,
  WrongDocumentError: 4,
  InvalidCharacterError: 5,
  NoModificationAllowedError: 7,
  NotFoundError: 8,
  NotSupportedError: 9,
  InUseAttributeError: 10,
  InvalidStateError: 11,
  SyntaxError: 12,
  InvalidModificationError: 13,
  NamespaceError: 14,
  InvalidAccessError: 15,
  TypeMismatchError: 17,
  SecurityError: 18,
  NetworkError: 19,
  AbortError: 20,
  URLMismatchError: 21,
  QuotaExceededError: 22,
  TimeoutError: 23,
  InvalidNodeTypeError: 24,
  DataCloneError: 25,
};

/** Web IDL: an Error that carries a name out of a fixed table. */
class DOMException extends Error {
  readonly #name: string;
  constructor(message = '', options: string | { name?: string; cause?: unknown } = 'Error') {
    super(message);
    const named = typeof options === 'string' ? { name: options } : options;
    this.#name = String(named.name ?? 'Error');
    if ('cause' in named) this.cause = named.cause;
    (Error as { captureStackTrace?: (error: Error, from: unknown) => void }).captureStackTrace?.(this, DOMException);
  }
  override get name(): string {
    return this.#name;
  }
  get code(): number {
    return CODES[this.#name] ?? 0;
  }
}
for (const [name, code] of Object.entries(CODES)) {
  const constant = name.replace(/Error$/, '').replace(/([a-z])([A-Z])/g, '$1_$2').toUpperCase() + '_ERR';
  for (const owner of [DOMException, DOMException.prototype]) {
    Object.defineProperty(owner, constant, { value: code, enumerable: true });
  }
}
tag(DOMException, 'DOMException');
install({ DOMException });
