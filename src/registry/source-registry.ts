import type { Proxies } from '../config/upstreams.ts'
import { digestOf, splitDigest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import type { Descriptor } from '../oci/manifest.ts'
import { LEAF_SIZE, rawCid } from '../store/dag.ts'
import { type DirectRegistry, type ListPage, openDirect, pageQuery } from '../upstream/direct.ts'
import { UpstreamError } from '../upstream/index.ts'
import { type ImageRepository, type ImageSource, MAX_CONFIG } from './image-source.ts'
import type { Referrer } from './referrers.ts'
import type { SourceName } from './source-name.ts'

/** How many names are asked for at a time. */
const NAMES = 1000

/** Pages of one list that are read at most: a registry that never ends its list ends here. */
const MAX_PAGES = 10_000

/** A registry as a source of images, and its end. */
export interface RegistrySource extends ImageSource {
  stop(): void
}

/**
 * Another registry, or a gateway, over the OCI API.
 *
 * @param options.auth a docker `config.json` with what it is logged in with
 * @param options.ca a file with certificates of further authorities, PEM
 * @param options.timeoutMs for an answer to begin, and for its silence, in milliseconds
 */
export function openRegistrySource(
  name: SourceName & { kind: 'registry' },
  options: { auth: string | undefined; timeoutMs: number; proxies: Proxies; ca?: string | undefined }
): RegistrySource {
  const registry = openDirect({ url: name.url, ...options })
  const { host } = new URL(name.url)
  const { path } = name

  /** Names below the path: a gateway lists those of one domain or root by itself. */
  async function* below(after: string, signal: AbortSignal): AsyncGenerator<string> {
    if (path === '') {
      yield* named(registry, '', after, signal)
      return
    }
    try {
      // names before those below it mean nothing to a list of those
      yield* named(registry, path, after.startsWith(`${path}/`) ? after : '', signal)
      return
    } catch (error) {
      if (!(error instanceof UpstreamError) || error.fault !== 'unknown') throw error
    }
    for await (const one of named(registry, '', after > path ? after : path.slice(0, -1), signal)) {
      if (one === path || one.startsWith(`${path}/`)) yield one
      else if (one > `${path}/\u{10ffff}`) return
    }
  }

  return {
    what: path === '' ? name.url : `${name.url}/${path}`,
    repositories: (after, signal) => translated(below(after, signal), host, 'NAME_UNKNOWN'),
    repository: async (repository) => repositoryOf(registry, name, repository),
    stop: () => registry.stop()
  }
}

function repositoryOf(
  registry: DirectRegistry,
  { url }: SourceName & { kind: 'registry' },
  repository: string
): ImageRepository {
  const { host } = new URL(url)
  const say = <T>(work: Promise<T>, missing: Missing) => work.catch(refusal(host, missing))
  return {
    what: url,
    tags: (after, signal) => translated(tagsOf(registry, repository, after, signal), host, 'NAME_UNKNOWN'),
    async digest(tag, signal) {
      const said = await say(registry.digest(repository, tag, signal), 'MANIFEST_UNKNOWN')
      return said ?? (await say(registry.manifest(repository, tag, signal), 'MANIFEST_UNKNOWN')).digest
    },
    manifest: (reference, signal) =>
      say(
        registry.manifest(repository, reference.kind === 'tag' ? reference.tag : reference.digest, signal),
        'MANIFEST_UNKNOWN'
      ),
    async config({ digest, size }, signal) {
      if (size > MAX_CONFIG)
        throw new RegistryError('MANIFEST_INVALID', `its config has ${size} bytes, more than ${MAX_CONFIG}`)
      const chunks: Uint8Array[] = []
      const content = registry.blob(repository, digest, size).read(0, signal)
      for await (const chunk of translated(content, host, 'BLOB_UNKNOWN')) chunks.push(chunk)
      const bytes = Buffer.concat(chunks)
      if (digestOf(bytes, splitDigest(digest).algorithm) === digest) return bytes
      throw new RegistryError('SOURCE_FAILED', `${host} sends something else as ${digest}`)
    },
    // a blob of one leaf has a CID that follows from its digest; of others nobody can tell without reading them
    whereabouts: async (digest, size) =>
      size <= LEAF_SIZE && digest.startsWith('sha256:')
        ? { cid: rawCid(Buffer.from(splitDigest(digest).hex, 'hex')).toString() }
        : {},
    async referrers(digest, signal) {
      const all = await say(registry.referrers(repository, digest, signal), 'MANIFEST_UNKNOWN')
      return all.slice(0, NAMES).map(referrerOf)
    },
    providers: async () => [{ address: url, from: 'registry' }]
  }
}

/**
 * A list of names after `after` in byte order, as its pages come; of a registry that has an order of its own, once all of
 * them are here.
 */
async function* inOrder(after: string, read: (query: string) => Promise<ListPage>): AsyncGenerator<string> {
  let last = after
  for await (const names of pagesOf(pageQuery(after, NAMES), read)) {
    const ordered = names.every((name, i) => name > (names[i - 1] ?? last))
    if (!ordered) {
      const all: string[] = []
      for await (const page of pagesOf(pageQuery('', NAMES), read)) for (const name of page) all.push(name)
      yield* [...new Set(all)].filter((name) => name > last).sort()
      return
    }
    yield* names
    last = names.at(-1) ?? last
  }
}

/** The pages of a list. A registry that leads from one to the next for ever is left. */
async function* pagesOf(
  first: string,
  read: (query: string) => Promise<ListPage>
): AsyncGenerator<readonly string[]> {
  let query = first
  for (let pages = 0; pages < MAX_PAGES; pages++) {
    const { names, next } = await read(query)
    yield names
    if (next === undefined || next === query) return
    query = next
  }
}

const named = (registry: DirectRegistry, of: string, after: string, signal: AbortSignal) =>
  inOrder(after, (query) => registry.catalogue(of, query, signal))

const tagsOf = (registry: DirectRegistry, repository: string, after: string, signal: AbortSignal) =>
  inOrder(after, (query) => registry.tags(repository, query, signal))

function referrerOf({ mediaType, digest, size, artifactType, annotations }: Descriptor): Referrer {
  const more = { ...(artifactType && { artifactType }), ...(annotations && { annotations }) }
  return { mediaType, digest, size, ...more }
}

type Missing = 'NAME_UNKNOWN' | 'MANIFEST_UNKNOWN' | 'BLOB_UNKNOWN'

async function* translated<T>(all: AsyncIterable<T>, host: string, missing: Missing): AsyncGenerator<T> {
  try {
    yield* all
  } catch (error) {
    refusal(host, missing)(error)
  }
}

/** What a person is told who looks at it. */
function refusal(host: string, missing: Missing): (error: unknown) => never {
  return (error) => {
    if (!(error instanceof UpstreamError)) throw error
    const { fault, message, cause, silent } = error
    if (fault === 'unknown') throw new RegistryError(missing, message, { cause })
    if (fault === 'denied')
      throw new RegistryError(
        'DENIED',
        `${message}: log in with docker login ${host}, or look at one repository`,
        {
          cause
        }
      )
    if (fault === 'busy') throw new RegistryError('TOOMANYREQUESTS', message, { cause })
    throw new RegistryError(silent ? 'SOURCE_TIMEOUT' : 'SOURCE_FAILED', message, { cause })
  }
}
