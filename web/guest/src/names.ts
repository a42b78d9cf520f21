// The bundler renames what clashes with a global of the same name; code asks for `value.constructor.name`, and printers
// show it. Runs last.
import { host } from './host';

function rename(owner: object): void {
  for (const [key, { value }] of Object.entries(Object.getOwnPropertyDescriptors(owner)) as [string, PropertyDescriptor][]) {
    if (typeof value !== 'function') continue;
    const { name } = value as { name: unknown };
    if (typeof name !== 'string' || name === key) continue;
    if (name === '' || name.replace(/^_/, '').replace(/\d+$/, '') === key) Object.defineProperty(value, 'name', { value: key, configurable: true });
  }
}

rename(globalThis);
rename(Intl);
for (const namespace of Object.values(host.builtins)) {
  rename(namespace);
  const { default: whole } = namespace;
  if ((typeof whole === 'object' && whole !== null) || typeof whole === 'function') rename(whole);
}
