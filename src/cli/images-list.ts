import { RegistryError } from '../oci/errors.ts'
import type { Cursor, ImagesQuery, SourceName } from '../registry/index.ts'
import { needsDetails } from '../registry/look-details.ts'
import type { ImageSummary } from '../registry/look-summary.ts'
import { sourceText } from '../registry/source-name.ts'
import { type Column, createColumns } from './columns.ts'
import type { Call, CommandContext } from './command.ts'
import { comparing, type ListOptions, MAX_ORDERED } from './images-options.ts'
import { type Look, look } from './look.ts'
import { cut, printable } from './screen.ts'
import { formatAge, formatBytes, formatJson, shortDigest } from './terminal.ts'

/** How much of an image's labels is shown in a list. */
const LABELS = 60

/** What a list command wants. */
export interface ListRequest {
  readonly source: SourceName
  readonly repositories?: string
  readonly tags?: string
  /** Whether it is a list of the tags of one repository. */
  readonly one: boolean
  readonly options: ListOptions
}

/** Lists images as the options say: rows as they come where the order allows it. */
export async function listImages(context: CommandContext, request: ListRequest): Promise<void> {
  const { options, source } = request
  const { filter, order, count, quiet, json } = options
  const names = (quiet || count) && order !== 'created' && order !== 'size' && order !== 'layers'
  const query: ImagesQuery = {
    ...filter,
    ...(request.repositories !== undefined && { repositories: request.repositories }),
    ...(request.tags !== undefined && { tags: request.tags }),
    ...(request.one && { one: true }),
    details: !names || needsDetails(filter)
  }
  const problems: ImageSummary[] = []
  let listed = 0
  await look(context, [source], async (looking, call) => {
    const all = ordered(pages(looking, source, query, call), options)
    const out = count
      ? counter(context, options)
      : json
        ? jsonList(context, request)
        : table(context, request)
    for await (const images of all) {
      for (const image of images) if (image.problem !== undefined) problems.push(image)
      listed += images.length
      out.add(images)
    }
    out.end()
  })
  const [first] = problems
  if (first === undefined) return
  const name = first.tag === undefined ? first.repository : `${first.repository}:${first.tag}`
  throw new RegistryError(
    'UNAVAILABLE',
    `${problems.length} of ${listed} images could not be read in full: ${name}: ${printable(first.problem ?? '')}`
  )
}

async function* pages(
  looking: Look,
  source: SourceName,
  query: ImagesQuery,
  call: Call
): AsyncGenerator<readonly ImageSummary[]> {
  let after: Cursor | undefined
  let seen = 0
  do {
    const page = await looking.images(source, query, after)
    seen += page.seen
    yield page.images
    call.progress({ what: `looking at ${sourceText(source)}`, done: seen, unit: 'items' })
    after = page.next
  } while (after !== undefined)
}

/** The images in their order, and no more than are wanted. */
async function* ordered(
  all: AsyncGenerator<readonly ImageSummary[]>,
  { order, reverse, limit = Number.POSITIVE_INFINITY }: ListOptions
): AsyncGenerator<readonly ImageSummary[]> {
  if (order === 'name' && !reverse) {
    let left = limit
    for await (const images of all) {
      yield images.slice(0, left)
      left -= images.length
      if (left <= 0) return
    }
    return
  }
  const compare = comparing(order, reverse)
  let kept: ImageSummary[] = []
  for await (const images of all) {
    kept.push(...images)
    if (kept.length > 2 * limit) kept = kept.sort(compare).slice(0, limit)
    if (kept.length > MAX_ORDERED)
      throw new RegistryError(
        'REQUEST_TOO_LARGE',
        `these are more than ${MAX_ORDERED} images, too many to order: narrow them down, or say --limit`
      )
  }
  yield kept.sort(compare).slice(0, limit)
}

/** Where a list goes. */
interface Output {
  add(images: readonly ImageSummary[]): void
  end(): void
}

/** The name by which other commands know an image of a source. */
export function imageText(
  source: SourceName,
  { repository, tag }: Pick<ImageSummary, 'repository' | 'tag'>
): string {
  const name = tag === undefined ? repository : `${repository}:${tag}`
  if (source.kind === 'registry') return `${source.url}/${name}`
  if (source.kind !== 'tree' || source.place.kind === 'domain') return name
  const { place } = source
  if (place.kind === 'ipfs') return `ipfs/${place.cid}/${name}`
  return place.name.includes('.') && repository.startsWith(`${place.name}/`)
    ? name
    : `ipns/${place.name}/${name}`
}

function jsonList({ print }: CommandContext, { source }: ListRequest): Output {
  let separator = '['
  return {
    add(images) {
      for (const image of images) {
        print(`${separator}${JSON.stringify({ image: imageText(source, image), ...image })}`)
        separator = ','
      }
    },
    end() {
      print(separator === '[' ? '[]' : ']')
    }
  }
}

function counter({ print }: CommandContext, { json }: ListOptions): Output {
  const repositories = new Set<string>()
  const digests = new Set<string>()
  let tags = 0
  return {
    add(images) {
      for (const { repository, tag, digest } of images) {
        repositories.add(repository)
        if (digest !== undefined) digests.add(digest)
        if (tag !== undefined) tags++
      }
    },
    end() {
      const counts = { repositories: repositories.size, tags, images: digests.size }
      print(
        json
          ? formatJson(counts)
          : `${some(counts.repositories, 'repository', 'repositories')}, ${some(tags, 'tag', 'tags')}, ${some(counts.images, 'image', 'images')}`
      )
    }
  }
}

const some = (n: number, one: string, many: string): string => `${n} ${n === 1 ? one : many}`

function table(context: CommandContext, { source, one, options }: ListRequest): Output {
  if (options.quiet)
    return {
      add: (images) => {
        for (const image of images) context.print(one ? (image.tag ?? '') : imageText(source, image))
      },
      end: () => undefined
    }
  const columns: Column[] = [
    ...(one ? [] : [{ head: 'REPOSITORY' }]),
    { head: 'TAG' },
    { head: 'DIGEST' },
    { head: 'PLATFORM' },
    { head: 'SIZE', right: true },
    { head: 'LAYERS', right: true },
    { head: 'CREATED' },
    { head: 'LABELS' }
  ]
  const printed = createColumns(columns, context)
  const now = Date.now()
  return {
    add: (images) => printed.rows(images.map((image) => rowOf(image, options, now).slice(one ? 1 : 0))),
    end: () => printed.end()
  }
}

/** An image as a row; what isn't known stays open. */
function rowOf(image: ImageSummary, { full, filter }: ListOptions, now: number): string[] {
  const {
    repository,
    tag = '',
    digest = '',
    type,
    platforms = [],
    size,
    layers,
    created,
    labels = {}
  } = image
  const named = platforms.flatMap(({ platform }) => (platform === '' ? [] : [platform]))
  const shown =
    filter.platform === undefined ? named : named.filter((one) => one.startsWith(filter.platform ?? ''))
  const text = Object.entries(labels)
    .map(([key, value]) => printable(`${key}=${value}`))
    .join(',')
  const problem = image.problem === undefined ? '' : `! ${printable(image.problem)}`
  return [
    printable(repository),
    printable(tag),
    full ? digest : shortDigest(digest),
    type === 'artifact' ? 'artifact' : shown.map(printable).join(','),
    size === undefined ? '' : formatBytes(size),
    layers === undefined ? '' : String(layers),
    created === undefined ? '' : full ? printable(created) : formatAge(Date.parse(created), now),
    full ? [problem, text].filter(Boolean).join(' ') : problem || cut(text, LABELS)
  ]
}
