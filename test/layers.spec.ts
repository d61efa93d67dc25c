import assert from 'node:assert/strict'
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative, resolve } from 'node:path'

/**
 * The rooms, highest first. A file may import from its own room and from any that stands lower; rooms of
 * one rank know nothing of each other.
 */
const RANKS: readonly (readonly string[])[] = [
  ['main'],
  ['cli', 'http'],
  ['signatures'],
  ['auth'],
  ['registry', 'move'],
  ['discovery', 'upstream', 'tls'],
  ['tree'],
  ['ipfs'],
  ['store'],
  ['oci']
]

const SRC = resolve(import.meta.dirname, '../src')

/** The room of a file below `src/`: its folder, or `main` for the files that put the rooms together. */
function roomOf(file: string): string {
  const [first = '', second] = file.split('/')
  if (first === 'config') return 'config.ts'
  return second === undefined
    ? ['config.ts', 'log.ts', 'metrics.ts'].includes(first)
      ? first
      : 'main'
    : first
}

interface Import {
  readonly from: string
  readonly to: string
  readonly typeOnly: boolean
}

/** The imports of one file that lead to other files below `src/`. */
function importsOf(file: string, text: string): Import[] {
  const found: Import[] = []
  for (const match of text.matchAll(
    /(?:^|\n)\s*(import|export)\s+(type\s)?[^;'"]*?from\s+['"](\.[^'"]+)['"]|import\(\s*['"](\.[^'"]+)['"]\s*\)/g
  )) {
    const target = (match[3] ?? match[4]) as string
    found.push({
      from: file,
      to: relative(SRC, resolve(SRC, dirname(file), target)),
      typeOnly: match[2] !== undefined
    })
  }
  return found
}

/** Why an import is not allowed; `undefined` if it is. */
function refusal({ from, to, typeOnly }: Import): string | undefined {
  const [a, b] = [roomOf(from), roomOf(to)]
  if (a === b || a === 'main') return undefined
  // Settings, log and metrics are made by main and handed in: others may know what they look like.
  if (b === 'log.ts' || b === 'metrics.ts')
    return typeOnly || a === 'config.ts' ? undefined : `${from} makes its own ${b}`
  if (b === 'config.ts') return typeOnly || a === 'cli' ? undefined : `${from} reads the settings itself`
  const rank = (room: string) => RANKS.findIndex((rooms) => rooms.includes(room))
  if (rank(b) === -1) return `${to} is in no room`
  return rank(a) !== -1 && rank(a) < rank(b)
    ? undefined
    : `${from} (${a}) imports ${to} (${b}), which does not stand lower`
}

function sources(): string[] {
  return readdirSync(SRC, { recursive: true, encoding: 'utf8' }).filter((file) => file.endsWith('.ts'))
}

describe('layers', () => {
  it('imports point strictly downward', () => {
    const imports = sources().flatMap((file) => importsOf(file, readFileSync(join(SRC, file), 'utf8')))
    assert.ok(imports.length > 50, `only ${imports.length} imports were found: is the pattern still right?`)
    assert.deepEqual(
      imports.map(refusal).filter((why) => why !== undefined),
      []
    )
  })

  it('an import that points upward or sideways is found', () => {
    const bad: [string, string][] = [
      ['store/blobs.ts', "import { openTree } from '../tree/index.ts'"],
      ['registry/pull.ts', "import type {\n  Context\n} from '../http/request.ts'"],
      ['discovery/index.ts', "export { fetchFrom } from '../upstream/index.ts'"],
      ['http/app.ts', "const cli = await import('../cli/index.ts')"],
      ['ipfs/node.ts', "import { createLog } from '../log.ts'"],
      ['oci/digest.ts', "import { SETTINGS } from '../config.ts'"]
    ]
    for (const [file, text] of bad) {
      const [found] = importsOf(file, text)
      assert.ok(found !== undefined && refusal(found) !== undefined, `${file}: ${text}`)
    }
  })

  it('Koa is known in http/ alone, Helia and libp2p in ipfs/ alone, dns-packet in discovery/ alone', () => {
    const owners: Record<string, readonly string[]> = {
      koa: ['http'],
      '@koa/router': ['http'],
      helia: ['ipfs'],
      libp2p: ['ipfs'],
      jose: ['auth', 'signatures'],
      bcryptjs: ['auth'],
      'dns-packet': ['discovery']
    }
    for (const file of sources()) {
      for (const [, name = ''] of readFileSync(join(SRC, file), 'utf8').matchAll(
        /from\s+['"]([^.'"][^'"]*)['"]/g
      )) {
        const rooms = owners[name]
        if (rooms !== undefined) assert.ok(rooms.includes(roomOf(file)), `${file} imports ${name}`)
      }
    }
  })
})
