import { borrowLeaf, returnLeaf } from './leaf-pool.ts'

/** How much of a blob is read at once for a client where many are served, in bytes; else it is a leaf. */
export const WINDOW = 256 * 1024

/** How many buffers wait at most to be used again. */
const KEPT = 64

/** How many of the buffers hold a whole leaf, which takes half the processor time and four times the room. */
const MOST_LARGE = 12

/** With so many buffers out there are enough clients to keep the processor busy, so nobody needs a second one. */
const PLENTY = 32

const spare: Buffer[] = []
let out = 0
let large = 0

/** A buffer of at least {@link WINDOW} bytes, holding anything. */
export interface Window {
  readonly buffer: Buffer
  /** Gives it back, once; whoever does so must have the last use of it. */
  release(): void
}

/**
 * A buffer for some of the next `wanted` bytes. Buffers go round, the last one used first, since the processor
 * still has it: fresh ones have their pages mapped and cleared by the system, and are collected in bursts, which
 * took half of what it cost to serve a blob.
 */
export function borrowWindow(wanted = WINDOW): Window {
  out++
  if (wanted > WINDOW && large < MOST_LARGE) {
    large++
    const buffer = borrowLeaf()
    return {
      buffer,
      release() {
        out--
        large--
        returnLeaf(buffer)
      }
    }
  }
  const buffer = spare.pop() ?? Buffer.allocUnsafeSlow(WINDOW)
  return {
    buffer,
    release() {
      out--
      if (spare.length < KEPT) spare.push(buffer)
    }
  }
}

/** Whether one who has a buffer may have another one, to read while the first is sent. */
export function mayReadAhead(): boolean {
  return out < PLENTY
}
