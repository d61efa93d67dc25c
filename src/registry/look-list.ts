import { RegistryError } from '../oci/errors.ts'
import { globMatches } from './glob.ts'
import type { ImageRepository, ImageSource } from './image-source.ts'
import { needsDetails } from './look-details.ts'
import { type ImageFilter, type ImageSummary, isWanted, problemOf, summaryOf } from './look-summary.ts'

/** What is listed. */
export interface ImagesQuery extends ImageFilter {
  /** Names of repositories; all if not given. Where the source has a domain, it may be left out. */
  readonly repositories?: string
  /** Tags; all if not given. */
  readonly tags?: string
  /** Whether `repositories` is the name of one, which must be there. */
  readonly one?: boolean
  /** Whether more is wanted than names and digests. */
  readonly details: boolean
}

/** Where a list goes on: behind this tag, or behind all of this repository. */
export interface Cursor {
  readonly repository: string
  readonly tag?: string
}

/** A part of a list. */
export interface ImagesPage {
  readonly images: readonly ImageSummary[]
  /** How many tags were looked at for it. */
  readonly seen: number
  /** Where it goes on; not there at the end. */
  readonly next?: Cursor
}

/** How many images a page has at most, and how long is looked for more, in milliseconds. */
const PAGE = 500
const PAGE_MS = 1000

/** How many tags are read at once. */
const AT_ONCE = 8

/** How many failures of the source in a row end a list: then it has failed, and not some images. */
const MAX_FAILURES = 5

/**
 * The images of a source by name and tag, from `after` on, as many as are found in about a second. An image that
 * can't be read is listed with its problem, but a source that fails again and again ends the list.
 *
 * @throws {RegistryError} as the source does
 */
export async function listImages(
  source: ImageSource,
  query: ImagesQuery,
  after: Cursor | undefined,
  signal: AbortSignal
): Promise<ImagesPage> {
  const details = query.details || needsDetails(query)
  const until = performance.now() + PAGE_MS
  const images: ImageSummary[] = []
  let seen = 0
  let failures = 0
  let next: Cursor | undefined

  /** Whether the page is full at this place. */
  function full(at: Cursor): boolean {
    if (images.length < PAGE && performance.now() < until) return false
    next = at
    return true
  }

  function noteFailure(error: unknown): void {
    failures++
    if (failures >= MAX_FAILURES) throw error
  }

  /** The tags of one repository, some at a time, in their order. */
  async function listTags(name: string, repository: ImageRepository, from: string): Promise<boolean> {
    let batch: string[] = []
    const flush = async (): Promise<boolean> => {
      const tags = batch
      batch = []
      const found = await Promise.all(
        tags.map((tag) =>
          summaryOf(repository, { repository: name, tag }, { details, filter: query }, signal)
        )
      )
      seen += found.length
      for (const image of found) {
        if (image.digest !== undefined) failures = 0
        else noteFailure(new RegistryError('SOURCE_FAILED', image.problem ?? 'nothing could be read'))
        if (isWanted(image, query)) images.push(image)
      }
      const last = tags.at(-1)
      return last !== undefined && full({ repository: name, tag: last })
    }
    for await (const tag of repository.tags(from, signal)) {
      signal.throwIfAborted()
      if (query.tags !== undefined && !globMatches(query.tags, tag)) continue
      batch.push(tag)
      if (batch.length === AT_ONCE && (await flush())) return true
    }
    return flush()
  }

  for await (const name of names(source, query, after, signal)) {
    if (performance.now() >= until && (seen > 0 || images.length > 0)) {
      // not begun with this one, so it is where the next page begins
      next = { repository: name, tag: '' }
      break
    }
    try {
      const repository = await source.repository(name, signal)
      const from = after?.repository === name ? (after.tag ?? '') : ''
      if (await listTags(name, repository, from)) break
    } catch (error) {
      if (query.one === true) throw error
      const problem = problemOf(error, signal)
      noteFailure(error)
      images.push({ repository: name, problem })
      if (full({ repository: name })) break
    }
  }
  return { images, seen, ...(next !== undefined && { next }) }
}

/** The repositories that are wanted, beginning with the one in which a list goes on. */
async function* names(
  source: ImageSource,
  query: ImagesQuery,
  after: Cursor | undefined,
  signal: AbortSignal
): AsyncGenerator<string> {
  const { repositories: glob } = query
  if (query.one === true && glob !== undefined) {
    if (after?.tag !== undefined || after === undefined) yield glob
    return
  }
  if (after?.tag !== undefined) yield after.repository
  const prefix = glob === undefined ? '' : literalOf(glob)
  // names without the domain stand among those with it
  const from = source.bare === undefined ? startOf(prefix) : ''
  const begin = after !== undefined && after.repository > from ? after.repository : from
  for await (const name of source.repositories(begin, signal)) {
    if (source.bare === undefined && name > prefix && !name.startsWith(prefix)) return
    const bare = source.bare?.(name) ?? name
    if (glob === undefined || globMatches(glob, name) || globMatches(glob, bare)) yield name
  }
}

/** What all names begin with that a glob matches. */
function literalOf(glob: string): string {
  const at = glob.search(/[*?]/)
  return at === -1 ? glob : glob.slice(0, at)
}

/** A name that stands before all that begin with `prefix`, and behind as many others as can be. */
function startOf(prefix: string): string {
  const last = prefix.at(-1)
  if (last === undefined) return ''
  const code = last.codePointAt(0) ?? 0
  return code <= 0x2d ? prefix.slice(0, -1) : prefix.slice(0, -1) + String.fromCodePoint(code - 1)
}
