import { LRUCache } from 'lru-cache'

/** Patterns of globs that were used lately: making one takes ten times as long as using it, and rules are asked with each request. */
const patterns = new LRUCache<string, RegExp>({ max: 10_000 })

/** Whether a glob matches a text: `*` stands for anything but a slash, `**` for anything, `?` for one character. */
export function globMatches(glob: string, text: string): boolean {
  if (!/[*?]/.test(glob)) return glob === text
  let pattern = patterns.get(glob)
  if (pattern === undefined) {
    pattern = patternOf(glob)
    patterns.set(glob, pattern)
  }
  return pattern.test(text)
}

function patternOf(glob: string): RegExp {
  const pattern = glob.replace(/\*\*|[*?]|[^*?]+/g, (part) => {
    if (part === '**') return '.*'
    if (part === '*') return '[^/]*'
    return part === '?' ? '[^/]' : part.replace(/[\\^$.|+()[\]{}]/g, String.raw`\$&`)
  })
  return new RegExp(`^${pattern}$`, 's')
}
