import { isAbort, RegistryError } from '../oci/errors.ts'
import type { LoadBlock } from '../tree/index.ts'
import type { ImageSource } from './image-source.ts'
import type { SourceChanges } from './look-compare.ts'
import { diffTrees } from './look-diff.ts'
import { type Inspection, type InspectQuery, inspectImage } from './look-inspect.ts'
import { type Cursor, type ImagesPage, type ImagesQuery, listImages } from './look-list.ts'
import { type SourceName, sourceText } from './source-name.ts'
import { createTreeSources, type TreeSourcesOptions } from './source-trees.ts'

/** Looking at images, without changing anything. Each call has a deadline of its own. */
export interface Looking {
  /** A page of a list; see {@link listImages}. */
  images(
    source: SourceName,
    query: ImagesQuery,
    after: Cursor | undefined,
    signal: AbortSignal
  ): Promise<ImagesPage>
  /** One image in full; see {@link inspectImage}. */
  inspect(source: SourceName, query: InspectQuery, signal: AbortSignal): Promise<Inspection>
}

/** Looking at trees, which can be compared too. */
export interface TreeLooking extends Looking {
  /** What is different between two trees, at most `limit` changes. @throws {RegistryError} UNSUPPORTED where one is no tree */
  changes(before: SourceName, after: SourceName, limit: number, signal: AbortSignal): Promise<SourceChanges>
  /** What names of this gateway's images go on with, for a shell; tags of an image behind its colon. */
  complete(prefix: string, kind: NameKind, signal: AbortSignal): Promise<readonly string[]>
}

/** What a shell completes. */
export type NameKind = 'domain' | 'repository' | 'image'

/** How many names a shell is told of. */
const COMPLETIONS = 500

/**
 * Looks at whatever `open` opens.
 *
 * @param deadlineMs for each call, in milliseconds
 */
export function createLooking(
  open: (source: SourceName, signal: AbortSignal) => Promise<ImageSource>,
  deadlineMs: number
): Looking {
  return {
    images: (source, query, after, signal) =>
      within(source, deadlineMs, signal, async (s) => listImages(await open(source, s), query, after, s)),
    inspect: (source, query, signal) =>
      within(source, deadlineMs, signal, async (s) => inspectImage(await open(source, s), query, s))
  }
}

/** Looks at trees of IPFS. */
export function createTreeLooking(
  options: TreeSourcesOptions & { domains: () => AsyncIterable<string>; deadlineMs: number }
): TreeLooking {
  const { deadlineMs } = options
  const sources = createTreeSources(options)
  const here: SourceName = { kind: 'gateway' }

  async function* named(prefix: string, kind: NameKind, signal: AbortSignal): AsyncGenerator<string> {
    const source = await sources.open(here, signal)
    const colon = kind === 'image' ? prefix.indexOf(':') : -1
    if (colon !== -1) {
      const name = prefix.slice(0, colon)
      const repository = await source.repository(name, signal)
      for await (const tag of repository.tags('', signal)) yield `${name}:${tag}`
    } else if (kind === 'domain') {
      for await (const domain of options.domains()) yield domain
    } else {
      for await (const name of source.repositories(prefix.slice(0, -1), signal)) {
        if (name > prefix && !name.startsWith(prefix)) return
        yield name
      }
    }
  }

  async function complete(prefix: string, kind: NameKind, signal: AbortSignal): Promise<string[]> {
    const found: string[] = []
    for await (const name of named(prefix, kind, signal)) {
      if (name.startsWith(prefix)) found.push(name)
      if (found.length === COMPLETIONS) break
    }
    return found
  }

  return {
    ...createLooking(sources.open, deadlineMs),
    complete: (prefix, kind, signal) => within(here, deadlineMs, signal, (s) => complete(prefix, kind, s)),
    changes: (before, after, limit, signal) =>
      within(after, deadlineMs, signal, async (s) => {
        const [old, now] = [await sources.tree(before, s), await sources.tree(after, s)]
        // what only one side's peers have is asked of them
        const load: LoadBlock = (cid, within, way) =>
          now.load(cid, within, way).catch(() => old.load(cid, within, way))
        return diffTrees(old.view, now.view, load, limit, s)
      })
  }
}

async function within<T>(
  source: SourceName,
  deadlineMs: number,
  signal: AbortSignal,
  work: (signal: AbortSignal) => Promise<T>
): Promise<T> {
  const late = AbortSignal.timeout(deadlineMs)
  try {
    return await work(AbortSignal.any([signal, late]))
  } catch (error) {
    signal.throwIfAborted()
    if (!late.aborted || !(isAbort(error) || error === late.reason)) throw error
    throw new RegistryError(
      'SOURCE_TIMEOUT',
      `${sourceText(source)} did not answer within ${deadlineMs / 1000} s (SEAWAY_PULL_TIMEOUT); try again, or look at less`,
      { cause: error }
    )
  }
}
