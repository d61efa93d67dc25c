import { ConfigError } from '../config.ts'
import type { Cursor, SourceName } from '../registry/index.ts'
import {
  diffConfigs,
  diffLayers,
  diffLists,
  type ImageChange,
  type LayerChange,
  type SourceChanges,
  type TagEntry
} from '../registry/look-compare.ts'
import { type ImageName, namesImage, sourceText } from '../registry/source-name.ts'
import { createColumns } from './columns.ts'
import type { Call, Command, CommandContext } from './command.ts'
import { DIFF_LIMIT } from './diff.ts'
import { imageText } from './images-list.ts'
import { imageOf, type Look, look, sourceOf, usage } from './look.ts'
import { cut, paintOf, printable } from './screen.ts'
import { formatBytes, formatJson, shortDigest } from './terminal.ts'

/** How many images are compared layer by layer at once. */
const AT_ONCE = 4

/** How much of a changed value is shown. */
const VALUE = 60

const SIGNS = { added: '+', changed: '~', removed: '-', same: ' ' } as const

/** Runs `seaway diff`. */
export const run: Command['run'] = async (context, [before = '', after = ''], options) => {
  const [a, b] = [namesImage(before), namesImage(after)]
  if (a !== b)
    throw new ConfigError(
      `'${a ? before : after}' is one image, and '${a ? after : before}' all of a source: compare like with like`
    )
  const limit = options['limit'] ?? String(DIFF_LIMIT)
  if (!/^[1-9]\d{0,8}$/.test(String(limit)))
    throw new ConfigError(`--limit is '${String(limit)}', but a number from 1 on is needed`)
  const json = options.json === true
  const { platform } = options
  if (a) {
    const images = [imageOf(before), imageOf(after)] as const
    await diffImages(context, images, {
      json,
      platform: typeof platform === 'string' ? platform : undefined
    })
  } else {
    if (platform !== undefined) throw new ConfigError('--platform is for two images')
    const sources = [sourceAt(before), sourceAt(after)] as const
    await diffRoots(context, sources, { json, layers: options['tags'] !== true, limit: Number(limit) })
  }
}

const sourceAt = (text: string): SourceName => usage(() => sourceOf(text) as SourceName)

async function diffImages(
  context: CommandContext,
  names: readonly [ImageName, ImageName],
  { json, platform }: { json: boolean; platform: string | undefined }
): Promise<void> {
  const [before, after] = await look(
    context,
    names.map(({ source }) => source),
    (looking) =>
      Promise.all(
        names.map(({ source, repository, reference }) =>
          looking.inspect(source, { repository, reference, ...(platform !== undefined && { platform }) })
        )
      )
  )
  if (before === undefined || after === undefined) throw new TypeError('two images were asked for')
  const layers = diffLayers(before, after)
  const config = diffConfigs(before, after)
  const [old, now] = names.map(({ source }, i) => {
    const found = i === 0 ? before : after
    return { image: imageText(source, found), digest: found.digest }
  })
  if (json) {
    context.print(
      formatJson({ before: old, after: now, same: before.digest === after.digest, layers, config })
    )
    return
  }
  const { print, screen } = context
  print(`${screen.paint('-', 'red')} ${printable(old?.image ?? '')}  ${before.digest}`)
  print(`${screen.paint('+', 'green')} ${printable(now?.image ?? '')}  ${after.digest}`)
  if (before.digest === after.digest) {
    print('they are the same')
    return
  }
  print('')
  const table = createColumns(
    [{ head: 'LAYER', paint: paintOf }, { head: 'SIZE', right: true }, { head: 'DIGEST' }, { head: 'CID' }],
    context
  )
  table.rows(layers.map(({ change, size, digest, cid }) => [change, formatBytes(size), digest, cid ?? '-']))
  table.end()
  if (config.length > 0) {
    print('')
    const fields = createColumns([{ head: 'CONFIG' }, { head: 'BEFORE' }, { head: 'AFTER' }], context)
    fields.rows(
      config.map(({ field, before: was = '', after: is = '' }) => [
        printable(field),
        cut(printable(was), VALUE),
        cut(printable(is), VALUE)
      ])
    )
  }
  print('')
  print(totalsText(totalsOf(layers)))
}

/** What a change of layers comes to. */
interface Totals {
  readonly same: number
  readonly added: number
  readonly removed: number
  readonly bytesAdded: number
  readonly bytesRemoved: number
}

function totalsOf(layers: readonly LayerChange[]): Totals {
  const of = (change: LayerChange['change']) => layers.filter((layer) => layer.change === change)
  const bytes = (change: LayerChange['change']) => of(change).reduce((sum, { size }) => sum + size, 0)
  return {
    same: of('same').length,
    added: of('added').length,
    removed: of('removed').length,
    bytesAdded: bytes('added'),
    bytesRemoved: bytes('removed')
  }
}

function totalsText({ same, added, removed, bytesAdded, bytesRemoved }: Totals): string {
  return `layers: ${same} same, ${added} added (${formatBytes(bytesAdded)}), ${removed} removed (${formatBytes(bytesRemoved)})`
}

/** A change of a tag, with what becomes of its layers where that was looked at. */
type Change = ImageChange & { readonly layers?: Totals; readonly problem?: string }

async function diffRoots(
  context: CommandContext,
  [before, after]: readonly [SourceName, SourceName],
  { json, layers, limit }: { json: boolean; layers: boolean; limit: number }
): Promise<void> {
  const { changes, more } = await look(context, [before, after], async (looking, call) => {
    const found = await changesOf(looking, before, after, limit)
    return layers
      ? { ...found, changes: await withLayers(looking, before, after, found.changes, call) }
      : found
  })
  const of = (change: ImageChange['change']) => changes.filter((one) => one.change === change).length
  const counts = { added: of('added'), changed: of('changed'), removed: of('removed') }
  if (json) {
    const names = { before: sourceText(before), after: sourceText(after) }
    context.print(formatJson({ ...names, counts, changes, more }))
    return
  }
  const { print, screen } = context
  for (const change of changes as readonly Change[]) {
    const { repository, tag, layers: totals, problem } = change
    const sign = screen.paint(SIGNS[change.change], paintOf(change.change) ?? 'dim')
    print(`${sign} ${printable(`${repository}:${tag}`)}  ${digestsText(change)}`)
    if (totals !== undefined) print(`    ${totalsText(totals)}`)
    if (problem !== undefined) print(`    ! ${printable(problem)}`)
  }
  if (more > 0) print(`  and ${more} more`)
  print(
    changes.length === 0
      ? 'they have the same tags'
      : `${counts.added} added, ${counts.changed} changed, ${counts.removed} removed`
  )
}

function digestsText({ before, after }: ImageChange): string {
  return [before, after].flatMap((digest) => (digest === undefined ? [] : [shortDigest(digest)])).join(' → ')
}

function changesOf(
  looking: Look,
  before: SourceName,
  after: SourceName,
  limit: number
): Promise<SourceChanges> {
  if (before.kind !== 'registry' && after.kind !== 'registry') return looking.changes(before, after, limit)
  return diffLists(entries(looking, before), entries(looking, after), limit)
}

async function* entries(looking: Look, source: SourceName): AsyncGenerator<TagEntry> {
  let after: Cursor | undefined
  do {
    const page = await looking.images(source, { details: false }, after)
    for (const { repository, tag, digest } of page.images)
      if (tag !== undefined && digest !== undefined) yield { repository, tag, digest }
    after = page.next
  } while (after !== undefined)
}

/** Changes with their layers compared, some at once. */
async function withLayers(
  looking: Look,
  before: SourceName,
  after: SourceName,
  changes: readonly ImageChange[],
  call: Call
): Promise<Change[]> {
  const found: Change[] = []
  for (let at = 0; at < changes.length; at += AT_ONCE) {
    const some = changes.slice(at, at + AT_ONCE)
    found.push(...(await Promise.all(some.map((change) => layersOf(looking, before, after, change, call)))))
    call.progress({ what: 'comparing layers', done: found.length, total: changes.length, unit: 'items' })
  }
  return found
}

async function layersOf(
  looking: Look,
  before: SourceName,
  after: SourceName,
  change: ImageChange,
  call: Call
): Promise<Change> {
  const { repository } = change
  const read = async (source: SourceName, digest: ImageChange['before']) =>
    digest && (await looking.inspect(source, { repository, reference: { kind: 'digest', digest } }))
  try {
    const [old, now] = await Promise.all([read(before, change.before), read(after, change.after)])
    return { ...change, layers: totalsOf(diffLayers(old, now)) }
  } catch (error) {
    call.signal.throwIfAborted()
    return { ...change, problem: error instanceof Error ? error.message : String(error) }
  }
}
