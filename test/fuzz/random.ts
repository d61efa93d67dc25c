/** Randomness that follows from a seed alone, and the text that clients could send with it. */

/** Picks at random; the same seed picks the same. */
export interface Random {
  /** From 0 up to, but not including, `n`. */
  below(n: number): number
  /** True once in `n` times. */
  oneIn(n: number): boolean
  pick<T>(items: readonly T[]): T
}

/** The randomness of request `index` of a run, so that each request can be made again by itself. */
export function randomOf(seed: number, index: number): Random {
  // mulberry32, begun where no two requests of a run begin
  let state = (Math.imul(seed, 0x9e3779b1) ^ Math.imul(index + 1, 0x85ebca6b)) >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
  const below = (n: number): number => Math.floor(next() * n)
  return { below, oneIn: (n) => below(n) === 0, pick: (items) => items[below(items.length)] as never }
}

const MARKS =
  `/ // .. ../ . %2F %2e%2e %00 % %zz %ff %C3%A4 \\ ? # & = ; : @ + * ~ ' " < > { } [ ] | ^`.split(' ')
const WORDS = [
  '-1',
  '0',
  '1e9',
  'null',
  'undefined',
  '__proto__',
  'constructor',
  '_catalog',
  'ä',
  '\u{1f600}'
]
const ODD = MARKS.concat(WORDS, ' ', '\t', '\0', '\x7f', '9'.repeat(30), 'a'.repeat(300))

/** A text with something put in, taken out, doubled or replaced. */
export function mangle(random: Random, text: string): string {
  const at = random.below(text.length + 1)
  switch (random.below(6)) {
    case 0:
      return text.slice(0, at) + random.pick(ODD) + text.slice(at)
    case 1:
      return text.slice(0, at)
    case 2:
      return text.slice(0, at) + text.slice(at + 1 + random.below(4))
    case 3:
      return text + text
    case 4:
      return random.oneIn(2) ? text.toUpperCase() : random.pick(ODD)
    default:
      return text.slice(0, at) + String.fromCharCode(random.below(256)) + text.slice(at + 1)
  }
}

/** The text as it is, or now and then mangled. */
export function perhaps(random: Random, text: string, oneIn = 4): string {
  let result = text
  while (random.oneIn(oneIn)) result = mangle(random, result)
  return result
}

/** A JSON value with parts of it replaced, removed or nested. */
export function mangleJson(random: Random, value: unknown): unknown {
  if (random.oneIn(6)) {
    const other = [null, true, -1, 1.5, 1e308, '', 'x', [], {}, [value], { a: value }, 'sha256:x', '\u0000']
    return random.pick(other)
  }
  if (Array.isArray(value)) return value.map((item) => (random.oneIn(3) ? mangleJson(random, item) : item))
  if (typeof value !== 'object' || value === null) return value
  const entries = Object.entries(value).filter(() => !random.oneIn(12))
  return Object.fromEntries(
    entries.map(([key, item]) => [
      random.oneIn(20) ? mangle(random, key) : key,
      random.oneIn(3) ? mangleJson(random, item) : item
    ])
  )
}
