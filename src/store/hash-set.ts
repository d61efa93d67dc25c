import { randomBytes } from 'node:crypto'

/**
 * A set of byte strings (digests, rows' keys) of which only 96 bits each are kept: 16 to 32 bytes an entry,
 * so that a million blocks take some twenty megabytes.
 *
 * Two strings that look the same to it would make one of them count as there when it isn't. With 96 bits that
 * happens once in 10^16 collections of a million blocks; and because the bits are worked out with a key that is
 * new for each set, nobody can choose content for which it does.
 */
export interface HashSet {
  /** Adds `bytes`; `false` when it was there already. */
  add(bytes: Uint8Array): boolean
  has(bytes: Uint8Array): boolean
  readonly size: number
}

/** Words of an entry. */
const WORDS = 3

/** An empty set. */
export function createHashSet(): HashSet {
  const seeds = randomBytes(WORDS * 4)
  const [seedA, seedB, seedC] = [seeds.readInt32LE(0), seeds.readInt32LE(4), seeds.readInt32LE(8)]
  let capacity = 1024
  let table = new Uint32Array(capacity * WORDS)
  let size = 0
  const hash = new Uint32Array(WORDS)

  /** Puts the bits of `bytes` into `hash`; the first word is never 0, which means an empty place. */
  function digest(bytes: Uint8Array): void {
    let a = seedA ^ bytes.length
    let b = seedB + bytes.length
    let c = seedC - bytes.length
    for (let at = 0; at < bytes.length; at += 4) {
      const [p = 0, q = 0, r = 0, s = 0] = [bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]
      const word = p | (q << 8) | (r << 16) | (s << 24)
      a = mix(a ^ word, 0x85ebca6b)
      b = mix(b + word, 0xc2b2ae35)
      c = mix(c ^ (word + b), 0x27d4eb2f)
    }
    hash[0] = a | 1
    hash[1] = b
    hash[2] = c
  }

  /** The place of what is in `hash`, or the empty one where it belongs. */
  function place(): number {
    const mask = capacity - 1
    for (let slot = (hash[1] as number) & mask; ; slot = (slot + 1) & mask) {
      const at = slot * WORDS
      if (table[at] === 0) return at
      if (table[at] === hash[0] && table[at + 1] === hash[1] && table[at + 2] === hash[2]) return at
    }
  }

  function grow(): void {
    const old = table
    capacity *= 2
    table = new Uint32Array(capacity * WORDS)
    for (let at = 0; at < old.length; at += WORDS) {
      if (old[at] === 0) continue
      hash.set(old.subarray(at, at + WORDS))
      table.set(hash, place())
    }
  }

  return {
    add(bytes) {
      if (size * 4 >= capacity * 3) grow()
      digest(bytes)
      const at = place()
      if (table[at] !== 0) return false
      table.set(hash, at)
      size++
      return true
    },
    has(bytes) {
      digest(bytes)
      return table[place()] !== 0
    },
    get size() {
      return size
    }
  }
}

function mix(value: number, factor: number): number {
  const product = Math.imul(value, factor)
  return product ^ (product >>> 15)
}

/** How a block is named in a set: by the digest of its multihash alone where that is a sha256, as a blob is. */
export function blockName(multihash: Uint8Array): Uint8Array {
  return multihash[0] === 0x12 && multihash[1] === 0x20 ? multihash.subarray(2) : multihash
}
