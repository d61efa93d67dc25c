import { parseDomain } from '../oci/reference.ts'
import type { HistoryEntry } from '../registry/index.ts'
import type { Command } from './command.ts'
import { paintOf, printable, type Screen } from './screen.ts'
import { formatJson, formatTable } from './terminal.ts'

/** How many changes of one root are printed for people. */
const LINES = 20

const SIGNS = { added: '+', changed: '~', removed: '-' } as const

/** `seaway history DOMAIN` */
export const history: Command = {
  name: 'history',
  arguments: '<domain>',
  summary: 'lists the roots that a domain has published, with what changed; goes back to one',
  examples: [
    ['seaway history example.com', 'the newest first; SEAWAY_KEEP_ROOTS of them are kept'],
    ['seaway history example.com --restore 7', 'makes number 7 the current root again'],
    ['seaway root example.com@7', 'its CID, to pull ipfs/<CID>/<image>']
  ],
  json: true,
  options: [{ flags: '--restore <root>', about: 'the number or CID of a listed root to make current again' }],
  async run({ operate, print, screen }, [text = ''], options) {
    const domain = parseDomain(text)
    const which = options['restore']
    if (typeof which === 'string') {
      const restored = await operate((operations, call) => operations.restore({ domain, which }, call))
      print(options.json === true ? formatJson(restored) : `${domain} is at root ${restored.root} again`)
      return
    }
    const entries = await operate((operations, call) => operations.history({ domain }, call))
    if (options.json === true) print(formatJson(entries))
    else for (const line of textOf(entries, screen)) print(line)
  }
}

function textOf(entries: readonly HistoryEntry[], screen: Screen): string[] {
  const rows = entries.map(({ n, root, at, current }) => [
    String(n),
    at.slice(0, 19),
    root,
    current ? 'current' : ''
  ])
  const [head = '', ...lines] = formatTable(['N', 'PUBLISHED', 'ROOT', ''], rows, [0], screen)
  return [head, ...entries.flatMap((entry, i) => [lines[i] ?? '', ...changesOf(entry, screen)])]
}

function changesOf({ changes, more }: HistoryEntry, screen: Screen): string[] {
  const shown = changes
    .slice(0, LINES)
    .map(
      ({ image, change }) =>
        `    ${screen.paint(SIGNS[change], paintOf(change) ?? 'dim')} ${printable(image)}`
    )
  const hidden = changes.length - shown.length + more
  return hidden > 0 ? [...shown, `      and ${hidden} more`] : shown
}
