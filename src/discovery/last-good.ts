import { CID } from 'multiformats/cid'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import type { Records } from '../store/records.ts'
import type { Found } from './follow.ts'

// The same answer is written again only this often (ms): its time says how old it is after an outage.
const REWRITE_MS = 600_000

/** An answer as it is kept over restarts. */
export type Kept = Omit<Found, 'partial'> & {
  /** When it was last confirmed (epoch ms). */
  readonly at: number
}

/** The last good answer of each domain, kept in records `dns/<domain>`. */
export interface LastGood {
  get(domain: string): Promise<Kept | undefined>
  put(domain: string, answer: Kept): Promise<void>
  /** The domain says that it has no record any more. */
  forget(domain: string): Promise<void>
}

/**
 * Keeps last good answers. A record that cannot be read or written is logged and counts as missing: it
 * must not fail a pull that DNS can serve.
 */
export function createLastGood(records: Pick<Records, 'get' | 'put'>, log: Log): LastGood {
  const key = (domain: string): string => `dns/${domain}`

  async function get(domain: string): Promise<Kept | undefined> {
    try {
      const bytes = await records.get(key(domain))
      return bytes === undefined || bytes.length === 0 ? undefined : decode(bytes)
    } catch (error) {
      log.warn({ domain, reason: reason(error) }, 'the last good DNS answer cannot be read')
      return undefined
    }
  }

  async function write(domain: string, bytes: Uint8Array): Promise<void> {
    try {
      await records.put(key(domain), bytes)
    } catch (error) {
      log.warn({ domain, reason: reason(error) }, 'the last good DNS answer cannot be written')
    }
  }

  return {
    get,
    async put(domain, answer) {
      const old = await get(domain)
      const same = old !== undefined && content(old) === content(answer)
      if (!same || answer.at - old.at >= REWRITE_MS) await write(domain, encode(answer))
    },
    async forget(domain) {
      // records here have no delete, so an empty one says that there is none
      if ((await get(domain)) !== undefined) await write(domain, new Uint8Array())
    }
  }
}

function content({ root, path, providers, authenticated }: Kept): string {
  return JSON.stringify([root.toString(), path, providers, authenticated])
}

function encode({ root, path, providers, problems, authenticated, expires, at }: Kept): Uint8Array {
  const facts = { root: root.toString(), path, providers, problems, authenticated, expires, at }
  return Buffer.from(JSON.stringify(facts))
}

/** @throws Error for bytes that `encode` didn't write */
function decode(bytes: Uint8Array): Kept {
  const value = JSON.parse(Buffer.from(bytes).toString('utf8')) as Record<string, unknown>
  const { root, path, providers, problems, authenticated, expires, at } = value
  if (typeof root !== 'string' || typeof path !== 'string') throw new Error('its root or path is missing')
  if (!isTexts(providers) || !isTexts(problems)) throw new Error('its providers or problems are no lists')
  if (typeof expires !== 'number' || typeof at !== 'number') throw new Error('its times are missing')
  const kept = { root: CID.parse(root), path, providers, problems, expires, at, chain: [] }
  return { ...kept, authenticated: authenticated === true }
}

function isTexts(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((item) => typeof item === 'string')
}
