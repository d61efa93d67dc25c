import { parseDomain } from '../oci/reference.ts'
import type { HistoryEntry } from '../registry/index.ts'
import type { Command } from './command.ts'

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
  async run({ operate, print }, [text = ''], options) {
    const domain = parseDomain(text)
    const which = options['restore']
    if (typeof which === 'string') {
      const restored = await operate((operations, call) => operations.restore({ domain, which }, call))
      print(options.json === true ? JSON.stringify(restored) : `${domain} is at root ${restored.root} again`)
      return
    }
    const entries = await operate((operations, call) => operations.history({ domain }, call))
    if (options.json === true) print(JSON.stringify(entries))
    else for (const line of entries.flatMap(linesOf)) print(line)
  }
}

function linesOf({ n, root, at, current, changes, more }: HistoryEntry): string[] {
  const shown = changes.slice(0, LINES).map(({ image, change }) => `    ${SIGNS[change]} ${image}`)
  const hidden = changes.length - shown.length + more
  if (hidden > 0) shown.push(`      and ${hidden} more`)
  return [`${n}  ${at}  ${root}${current ? '  (current)' : ''}`, ...shown]
}
