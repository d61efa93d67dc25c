import type { Digest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import { type Descriptor, MAX_MANIFEST, readManifest } from '../oci/manifest.ts'
import { OCI_INDEX } from '../oci/media-types.ts'
import { UpstreamError } from './failure.ts'
import { nextQuery } from './link.ts'
import type { Mirror } from './mirror.ts'
import type { Ask } from './mirrors.ts'
import type { Wire } from './wire.ts'

/** How many pages of a list are read, and how many descriptors are taken at most. */
const MAX_PAGES = 20
const MAX_REFERRERS = 10_000

/**
 * What an upstream says refers to a manifest: by its referrers API, else by the tag that clients keep for it.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#listing-referrers
 * @throws {UpstreamError}; the signal's reason
 */
export async function askReferrers(
  options: { ask: Ask; wire: Pick<Wire, 'read'> },
  repository: string,
  subject: Digest,
  signal: AbortSignal
): Promise<readonly Descriptor[]> {
  const { ask, wire } = options

  async function page(
    mirror: Mirror,
    path: string
  ): Promise<{ items: readonly Descriptor[]; next: string | undefined }> {
    const headers = { accept: OCI_INDEX, 'accept-encoding': 'identity' }
    const reply = await mirror.ask({ method: 'GET', repository, path, headers, signal })
    const bytes = await wire.read(reply, MAX_MANIFEST)
    try {
      const items = readManifest(bytes, OCI_INDEX).children
      return { items, next: nextQuery(reply.headers['link'], mirror.url) }
    } catch (error) {
      if (!(error instanceof RegistryError)) throw error
      const what = `what ${mirror.url.host} lists as referrers is no index: ${error.message}`
      throw new UpstreamError('wrong', what, { cause: error })
    }
  }

  async function pages(mirror: Mirror): Promise<readonly Descriptor[]> {
    const found: Descriptor[] = []
    const first = `referrers/${subject}`
    let path: string | undefined = first
    for (let count = 0; path !== undefined && count < MAX_PAGES; count++) {
      const { items, next } = await page(mirror, path)
      for (const item of items) found.push(item)
      if (found.length > MAX_REFERRERS)
        throw new UpstreamError('wrong', `${mirror.url.host} lists more than ${MAX_REFERRERS} referrers`)
      path = next === undefined ? undefined : first + next
    }
    return found
  }

  return ask(signal, { patient: true }, async (mirror) => {
    try {
      return await pages(mirror)
    } catch (error) {
      // registries from before the API have no such page, and say so in many ways
      const old = error instanceof UpstreamError && ['unknown', 'wrong'].includes(error.fault)
      if (!old) throw error
    }
    try {
      return (await page(mirror, `manifests/${subject.replace(':', '-')}`)).items
    } catch (error) {
      if (error instanceof UpstreamError && error.fault === 'unknown') return []
      throw error
    }
  })
}
