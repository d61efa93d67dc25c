import { ConfigError } from '../config.ts'
import type { Command, Operations } from './command.ts'
import { formatBytes, formatJson, formatTable } from './terminal.ts'

/** `seaway pin ACTION [ROOT]` */
export const pin: Command = {
  name: 'pin',
  arguments: '<action> [root]',
  words: ['add', 'ls', 'rm'],
  summary: 'keeps roots whatever becomes of their domains: add, ls, rm',
  examples: [
    ['seaway pin add example.com@7', 'a published root, by its number in seaway history'],
    ['seaway pin add example.com', 'the root that the domain has now'],
    ['seaway pin add bafybei…', 'any root that is here, also of others: a pin fetches nothing'],
    ['seaway pin ls', 'what is pinned'],
    ['seaway pin rm example.com@7', 'by its name or CID; seaway gc then frees what nothing else needs']
  ],
  json: true,
  async run({ operate, print, screen }, [action = '', root], options) {
    const show = (value: unknown, lines: readonly string[]): void => {
      if (options.json === true) print(formatJson(value))
      else for (const line of lines) print(line)
    }
    if (action === 'ls') {
      if (root !== undefined) throw new ConfigError('pin ls takes no root: it lists them all')
      const pins = await operate((operations, call) => operations.pins({}, call))
      const rows = pins.map(({ name, root: cid, at }) => [name === cid ? '' : name, at.slice(0, 19), cid])
      show(pins, rows.length === 0 ? [] : formatTable(['PINNED AS', 'SINCE', 'ROOT'], rows, [], screen))
    } else if (action === 'add') {
      const name = needed(action, root)
      const pinned = await operate((operations, call) => operations.pin({ root: name }, call))
      show(pinned, linesOf(pinned))
    } else if (action === 'rm') {
      const name = needed(action, root)
      const gone = await operate((operations, call) => operations.unpin({ root: name }, call))
      show(gone, [`${gone.root} is not pinned any more`])
    } else throw new ConfigError(`'${action}' is no action; add, ls, rm are`)
  }
}

function needed(action: string, root: string | undefined): string {
  if (root === undefined)
    throw new ConfigError(`pin ${action} needs a root: its CID, example.com or example.com@7`)
  return root
}

function linesOf(pinned: Awaited<ReturnType<Operations['pin']>>): string[] {
  const { root, blobs, bytes, elsewhere, partial } = pinned
  const lines = [`pinned ${root}: ${blobs} blobs, ${formatBytes(bytes)}`]
  const missing = [...(partial ? ['directories'] : []), ...(elsewhere > 0 ? [`${elsewhere} blobs`] : [])]
  if (missing.length > 0)
    lines.push(`${missing.join(' and ')} of it are elsewhere; what is pulled of them is kept from then on`)
  return lines
}
