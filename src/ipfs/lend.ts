import type { Leaf } from './types.ts'

/** A leaf's bytes, in memory that becomes another leaf's when nobody holds it any more. */
export interface Lent {
  readonly offset: number
  readonly data: Uint8Array
  hold(): void
  release(): void
}

/** Lends a leaf's memory; it is held once, by whoever called this. */
export function lend({ offset, data, release }: Pick<Leaf, 'offset' | 'data' | 'release'>): Lent {
  let held = 1
  return {
    offset,
    data,
    hold: () => void held++,
    release() {
      if (--held === 0) release()
    }
  }
}
