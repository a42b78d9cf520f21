// The answer of adminDb().sql(): the endpoint's envelope, which can also be read as its array of rows. Published code
// does either. Contract 05 §10.1 and §15.

type Row = Record<string, unknown>;

export interface SqlResult extends Iterable<Row> {
  status: string;
  schema: string;
  rows: Row[];
  row_count: number;
  fields: { name: string; type: string }[];
  readonly length: number;
  readonly [index: number]: Row;
}

const METHODS =
  'at concat entries every filter find findIndex findLast findLastIndex flat flatMap forEach includes indexOf join keys lastIndexOf map reduce reduceRight slice some toReversed toSorted toSpliced values with'.split(' ');

const rowsOf = (of: object): Row[] => {
  const { rows } = of as { rows?: unknown };
  return Array.isArray(rows) ? rows : [];
};

/** What results inherit: an array's reading methods, over `rows`. Nothing of it is enumerable. */
const ArrayView: object = Object.create(Object.prototype, {
  length: {
    get(this: object) {
      return rowsOf(this).length;
    },
    configurable: true,
  },
  [Symbol.iterator]: {
    value(this: object) {
      return rowsOf(this)[Symbol.iterator]();
    },
    configurable: true,
    writable: true,
  },
});
for (const name of METHODS) {
  const method = (Array.prototype as unknown as Record<string, (...args: unknown[]) => unknown>)[name];
  if (method === undefined) continue;
  Object.defineProperty(ArrayView, name, {
    value(this: object, ...args: unknown[]) {
      return Reflect.apply(method, rowsOf(this), args);
    },
    configurable: true,
    writable: true,
  });
}

/** Indices are looked up when they are asked for: results may be long, and few are read this way. */
const Indexed: object = new Proxy(ArrayView, {
  get(target, key, receiver: object) {
    return typeof key === 'string' && /^\d+$/.test(key) ? rowsOf(receiver)[Number(key)] : (Reflect.get(target, key, receiver) as unknown);
  },
});

export const sqlResult = (envelope: Record<string, unknown>): SqlResult =>
  Object.assign(Object.create(Indexed) as object, envelope) as unknown as SqlResult;
