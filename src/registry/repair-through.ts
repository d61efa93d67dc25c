import type { Transfers } from '../ipfs/transfer.ts'
import type { Digest } from '../oci/digest.ts'
import type { TreeWriter } from '../tree/index.ts'
import { namesIn } from './names.ts'
import type { Through } from './through.ts'

/** Has content again from the registry that it was pulled through from; `undefined` where it came from none. */
export type Again = (digest: Digest, signal: AbortSignal) => Promise<string | undefined>

/**
 * Makes it.
 *
 * @throws {RegistryError} what the last upstream failed with
 */
export function createAgain(options: {
  through: Through
  transfers: Pick<Transfers, 'open'>
  trees: Pick<TreeWriter, 'domains' | 'view'>
}): Again {
  const { through, transfers, trees } = options
  return async (digest, signal) => {
    let failure: unknown
    for await (const domain of trees.domains()) {
      const view = await trees.view(domain)
      if (view === undefined) continue
      for await (const repository of namesIn(view, domain, '', signal)) {
        const up = through.of({ asked: repository, place: { kind: 'domain', domain }, repository })
        if (up === undefined) break
        const name = `${domain}/${repository}`
        try {
          if (await view.hasManifest(name, digest, signal)) {
            await up.manifest({ kind: 'digest', digest }, signal)
            return `fetched again from ${domain}`
          }
          if (!(await view.hasBlob(name, digest, signal))) continue
          const transfer = await transfers.open(await up.again(digest, signal), signal)
          await transfer.done(signal)
          return `fetched again from ${domain}`
        } catch (error) {
          signal.throwIfAborted()
          failure = error
        }
      }
    }
    if (failure !== undefined) throw failure
    return undefined
  }
}
