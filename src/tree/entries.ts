/** What a node holds, by name or slot, in byte order; taken out of its bytes as it is asked for. */
export interface Entries<K, V> extends Iterable<readonly [K, V]> {
  readonly size: number
  get(key: K): V | undefined
  keys(): Iterable<K>
  values(): Iterable<V>
}

/** How many entries of a node stay taken out: those on the way to what is read all the time. */
const MAX_TAKEN = 32

/** Entries of a node with `size` of them: found by key, or read in order. */
export function entriesOf<K, V>(
  size: number,
  find: (key: K) => V | undefined,
  keyAt: (i: number) => K,
  valueAt: (i: number) => V
): Entries<K, V> {
  let taken: Map<K, V> | undefined
  function* each<T>(at: (i: number) => T): Generator<T> {
    for (let i = 0; i < size; i++) yield at(i)
  }
  return {
    size,
    get(key) {
      const hit = taken?.get(key)
      if (hit !== undefined) return hit
      const found = find(key)
      if (found === undefined) return undefined
      if (taken === undefined || taken.size >= MAX_TAKEN) taken = new Map()
      taken.set(key, found)
      return found
    },
    keys: () => each(keyAt),
    values: () => each(valueAt),
    [Symbol.iterator]: () => each((i) => [keyAt(i), valueAt(i)] as const)
  }
}
