import type { Digest } from '../oci/digest.ts'
import type { Store } from '../store/index.ts'
import { createDirectories, type TreeWriter } from '../tree/index.ts'
import { askLocal, openLocal } from './collect-reading.ts'
import type { Links } from './links.ts'

/** Counts what is here. That is no use of it, and asks nobody: who published a tree may be gone. */
export interface Counts {
  /** Bytes of content in the store, each blob once. */
  storeBytes(signal: AbortSignal): Promise<number>
  /** Bytes of content of a domain, each blob once: what its tree has here, and uploads that no manifest names yet. */
  domainBytes(domain: string, signal: AbortSignal): Promise<number>
  /** Those of them that count against the domain's limit: what was pulled through is cache, and can go. */
  limitedBytes(domain: string, signal: AbortSignal): Promise<number>
  /** Whether the domain's tree has the blob, as far as that is known here. */
  domainHas(domain: string, digest: Digest, signal: AbortSignal): Promise<boolean>
}

/** What directories in which single blobs are looked for take in memory at most, in bytes. */
const DIRECTORIES = 5 * 1024 * 1024

/** {@link Counts} over a store and its trees. */
export function createCounts({
  store,
  trees,
  links,
  pulledThrough
}: {
  store: Pick<Store, 'integrity' | 'peek'>
  trees: Pick<TreeWriter, 'view'>
  links: Pick<Links, 'list'>
  /** Whether a domain has an upstream; none has unless given. */
  pulledThrough?: ((domain: string) => boolean) | undefined
}): Counts {
  const directories = createDirectories(DIRECTORIES)
  const rootOf = async (domain: string) => (await trees.view(domain))?.root
  const sizeOf = async (digest: Digest) => (await store.peek.blob(digest))?.size ?? 0
  const pushedSizeOf = async (digest: Digest) => {
    const blob = await store.peek.blob(digest)
    return blob === undefined || (await store.peek.cached(blob)) ? 0 : blob.size
  }

  async function bytesOf(
    domain: string,
    measure: (digest: Digest) => Promise<number>,
    signal: AbortSignal
  ): Promise<number> {
    const root = await rootOf(domain)
    const view = root && openLocal(root, store.peek).view
    let sum = 0
    if (view !== undefined) for await (const digest of view.contents(signal)) sum += await measure(digest)
    const waiting = new Set<Digest>()
    for await (const { key, digest } of links.list()) {
      signal.throwIfAborted()
      if (!key.startsWith(`link/${domain}/`) || waiting.has(digest)) continue
      if (view !== undefined && (await view.blob(digest, signal)) !== undefined) continue
      waiting.add(digest)
      sum += await sizeOf(digest)
    }
    return sum
  }

  return {
    async storeBytes(signal) {
      let sum = 0
      for await (const { size } of store.integrity.blobs(undefined)) {
        signal.throwIfAborted()
        sum += size
      }
      return sum
    },

    domainBytes: (domain, signal) => bytesOf(domain, sizeOf, signal),
    limitedBytes: (domain, signal) =>
      bytesOf(domain, pulledThrough?.(domain) === true ? pushedSizeOf : sizeOf, signal),

    async domainHas(domain, digest, signal) {
      const root = await rootOf(domain)
      const ask = root && askLocal(root, store.peek, directories)
      return (await ask?.((view) => view.blob(digest, signal))) !== undefined
    }
  }
}
