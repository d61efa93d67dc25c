import { LRUCache } from 'lru-cache'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import type { Records } from '../store/records.ts'
import { fieldsOf, type IpnsName, type IpnsRecord, readRecord, replaces } from './ipns-record.ts'

/** Records of names that nobody here has asked for are kept in memory only, and so many of them. */
const MAX_GUESTS = 1000

/** A record as it is kept. */
export interface Kept extends IpnsRecord {
  /** When it was last seen to be the newest (epoch ms). */
  readonly at: number
}

/** The newest record known of each name: what was once seen is never replaced by an older one. */
export interface IpnsBook {
  /** The newest one, if it still holds. */
  get(name: IpnsName): Promise<Kept | undefined>
  /** The newest one that was kept, even if it has run out since. */
  last(name: IpnsName): Promise<IpnsRecord | undefined>
  /** When the newest known one ran out (epoch ms), if it did. */
  expired(name: IpnsName): Promise<number | undefined>
  /** The highest sequence ever seen of the name. */
  sequence(name: IpnsName): Promise<bigint | undefined>
  /**
   * Takes a record in: the newer of it and the known one comes back.
   *
   * @param guest one that a stranger gave, of a name that nobody here has asked for
   * @throws Error for one that isn't valid; OlderRecord for one with a lower sequence than is known
   */
  offer(name: IpnsName, bytes: Uint8Array, guest?: boolean): Promise<Kept>
}

/** A record that was replaced by its publisher already. */
export class OlderRecord extends Error {
  override readonly name = 'OlderRecord'
}

interface Row {
  readonly record: string
  readonly at: number
  readonly sequence: string
  readonly validUntil: number
}

/** Opens the book over records `ipns/<name>`. */
export function createIpnsBook(options: {
  records: Pick<Records, 'get' | 'put'>
  log: Log
  now: () => number
}): IpnsBook {
  const { records, log, now } = options
  const guests = new LRUCache<string, Kept>({ max: MAX_GUESTS })
  const key = (name: IpnsName): string => `ipns/${name.text}`

  async function row(name: IpnsName): Promise<Row | undefined> {
    const bytes = await records.get(key(name))
    if (bytes === undefined) return undefined
    try {
      return JSON.parse(Buffer.from(bytes).toString()) as Row
    } catch (error) {
      log.warn({ name: name.text, cause: reason(error) }, 'the kept IPNS record cannot be read')
      return undefined
    }
  }

  async function get(name: IpnsName): Promise<Kept | undefined> {
    const kept = await row(name)
    if (kept === undefined) {
      const guest = guests.get(name.text)
      return guest !== undefined && guest.validUntil > now() ? guest : undefined
    }
    if (kept.validUntil <= now()) return undefined
    return { ...(await readRecord(name, Buffer.from(kept.record, 'base64'), now())), at: kept.at }
  }

  return {
    get,
    async last(name) {
      const kept = await row(name)
      // it was checked when it was taken in
      return kept && fieldsOf(Buffer.from(kept.record, 'base64'))
    },
    async expired(name) {
      const until = (await row(name))?.validUntil ?? guests.get(name.text)?.validUntil
      return until !== undefined && until <= now() ? until : undefined
    },
    async sequence(name) {
      const known = await row(name)
      return known === undefined ? guests.get(name.text)?.sequence : BigInt(known.sequence)
    },
    async offer(name, bytes, guest = false) {
      const record = await readRecord(name, bytes, now())
      const known = await row(name)
      const highest = known === undefined ? guests.get(name.text)?.sequence : BigInt(known.sequence)
      if (highest !== undefined && record.sequence < highest)
        throw new OlderRecord(`its sequence is ${record.sequence}, and ${highest} has been seen`)
      const before = await get(name)
      const best = before !== undefined && !replaces(record, before) ? before : record
      const kept: Kept = { ...best, at: now() }
      if (known === undefined && guest) guests.set(name.text, kept)
      else {
        const value: Row = {
          record: Buffer.from(kept.bytes).toString('base64'),
          at: kept.at,
          sequence: kept.sequence.toString(),
          validUntil: kept.validUntil
        }
        await records.put(key(name), Buffer.from(JSON.stringify(value)))
        guests.delete(name.text)
      }
      return kept
    }
  }
}
