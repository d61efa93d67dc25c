import { LEAF_SIZE } from './dag.ts'

/** Buffers that go round, over all bodies: made as they are needed, as many as transfers may have read ahead,
 * writers under way and clients be served. A taker that finds none gets one that is left to the collector. */
const KEPT = 60

const spare: Buffer[] = []
const numbers = new WeakMap<Uint8Array, number>()

/**
 * A buffer of {@link LEAF_SIZE} bytes, holding anything. Buffers go round: one a leaf would be a megabyte of
 * garbage a leaf, which the collector lets pile up by the hundred megabytes and then spends a fifth of a
 * transfer's time on. They are shared memory, so that another thread can hash them where they are.
 */
export function borrowLeaf(): Buffer {
  const kept = spare.pop()
  if (kept !== undefined) return kept
  if (made >= KEPT) return Buffer.allocUnsafeSlow(LEAF_SIZE)
  const leaf = Buffer.from(new SharedArrayBuffer(LEAF_SIZE))
  numbers.set(leaf, made++)
  return leaf
}
let made = 0

/** Gives a borrowed buffer back; whoever does so must have the last use of it. */
export function returnLeaf(leaf: Buffer): void {
  if (numbers.has(leaf)) spare.push(leaf)
}

/** Which of the buffers that go round this is. */
export function leafNumber(leaf: Uint8Array): number | undefined {
  return numbers.get(leaf)
}
