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
  /** Whether the domain's tree has the blob, as far as that is known here. */
  domainHas(domain: string, digest: Digest, signal: AbortSignal): Promise<boolean>
}

/** What directories in which single blobs are looked for take in memory at most, in bytes. */
const DIRECTORIES = 5 * 1024 * 1024

/** {@link Counts} over a store and its trees. */
export function createCounts({
  store,
  trees,
  links
}: {
  store: Pick<Store, 'integrity' | 'peek'>
  trees: Pick<TreeWriter, 'view'>
  links: Pick<Links, 'list'>
}): Counts {
  const directories = createDirectories(DIRECTORIES)
  const rootOf = async (domain: string) => (await trees.view(domain))?.root
  const sizeOf = async (digest: Digest) => (await store.peek.blob(digest))?.size ?? 0

  return {
    async storeBytes(signal) {
      let sum = 0
      for await (const { size } of store.integrity.blobs(undefined)) {
        signal.throwIfAborted()
        sum += size
      }
      return sum
    },

    async domainBytes(domain, signal) {
      const root = await rootOf(domain)
      const view = root && openLocal(root, store.peek).view
      let sum = 0
      if (view !== undefined) for await (const digest of view.contents(signal)) sum += await sizeOf(digest)
      const waiting = new Set<Digest>()
      for await (const { key, digest } of links.list()) {
        signal.throwIfAborted()
        if (!key.startsWith(`link/${domain}/`) || waiting.has(digest)) continue
        if (view !== undefined && (await view.blob(digest, signal)) !== undefined) continue
        waiting.add(digest)
        sum += await sizeOf(digest)
      }
      return sum
    },

    async domainHas(domain, digest, signal) {
      const root = await rootOf(domain)
      const ask = root && askLocal(root, store.peek, directories)
      return (await ask?.((view) => view.blob(digest, signal))) !== undefined
    }
  }
}
