import { isTag } from '../oci/reference.ts'
import { UpstreamError } from './failure.ts'
import { nextQuery } from './link.ts'
import type { Mirror } from './mirror.ts'
import type { Wire } from './wire.ts'

/** How many tags a page is asked to have; many registries give fewer. */
const PAGE = 1000

/** How many pages are read, how many bytes one may have, and how many tags there may be. */
const MAX_PAGES = 500
const MAX_BYTES = 4 * 1024 * 1024
const MAX_TAGS = 100_000

/**
 * All tags of a repository. Registries list them in orders of their own, so that one page can't be had for another.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-tags
 * @throws {UpstreamError}; the signal's reason
 */
export async function tagsOf(
  { mirror, wire }: { mirror: Mirror; wire: Pick<Wire, 'read'> },
  repository: string,
  signal: AbortSignal
): Promise<readonly string[]> {
  const found = new Set<string>()
  let query: string | undefined = `?n=${PAGE}`
  for (let pages = 0; query !== undefined; pages++) {
    const before = found.size
    const reply = await mirror.ask({ method: 'GET', repository, path: `tags/list${query}`, signal })
    for (const tag of listed((await wire.read(reply, MAX_BYTES)).toString(), mirror)) found.add(tag)
    if (found.size > MAX_TAGS || pages >= MAX_PAGES)
      throw new UpstreamError('wrong', `${mirror.url.host} lists more than ${found.size} tags`)
    // one that says for ever that there is more has no more
    query = found.size === before ? undefined : nextQuery(reply.headers['link'], mirror.url)
  }
  return [...found]
}

function listed(text: string, { url }: Mirror): string[] {
  let tags: unknown
  try {
    tags = (JSON.parse(text) as { tags?: unknown } | null)?.tags ?? []
  } catch {
    tags = undefined
  }
  if (!Array.isArray(tags))
    throw new UpstreamError('wrong', `${url.host} answers with what is no list of tags`)
  return tags.filter((tag): tag is string => typeof tag === 'string' && isTag(tag))
}
