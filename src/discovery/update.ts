import { randomBytes, randomInt } from 'node:crypto'
import { isAbort, RegistryError, reason } from '../oci/errors.ts'
import { ServerFailure, within } from './failure.ts'
import { MAX_NAME } from './name.ts'
import {
  isDone,
  type Publisher,
  type RecordChange,
  type RecordSet,
  recordsAt,
  ZoneChanged
} from './publish.ts'
import { findPrimary } from './publish-primary.ts'
import { addressOf, parseServer, type Server } from './server.ts'
import { readKeyFile, sign, type TsigKey, verify } from './tsig.ts'
import { type Endpoint, exchangeOverTcp, exchangeOverUdp } from './update-exchange.ts'
import {
  CLASS,
  decodeTxt,
  encodeMessage,
  encodeRecord,
  encodeTxt,
  nameIn,
  readRecords,
  TYPE,
  type WireRecord
} from './wire.ts'

const QUERY = 0
const UPDATE = 5

/** What the codes of answers to updates mean, and what to do (RFC 2136 section 2.2). */
const REFUSALS: Readonly<Record<number, string>> = {
  1: 'FORMERR: it did not understand the message',
  2: 'SERVFAIL: it could not carry it out; its log says why',
  4: 'NOTIMP: it takes no updates',
  5: 'REFUSED: the key may not do this there (look at allow-update or update-policy of the zone)',
  9: 'NOTAUTH: it is not a primary of the zone',
  10: 'NOTZONE: the records are not in that zone'
}

/** Codes that say that a prerequisite does not hold. */
const UNMET = new Set([3, 6, 7, 8])

/** What a server shows at a name. */
interface Shown extends RecordSet {
  /** Where the name leads as an alias. */
  readonly alias: string | undefined
}

/** The records of a name that were read. */
interface ReadSet extends RecordSet {
  /** What is shown there, where that is as a wildcard would have it. */
  readonly shown?: Shown
}

/** How to reach a zone's primary. */
export interface UpdateSettings {
  /** `host` or `host:port`; the primary that the zone's SOA names if not given. */
  readonly server: string | undefined
  /** The zone's name; found by its SOA if not given. */
  readonly zone: string | undefined
  /** A file in BIND's format. */
  readonly keyFile: string
  readonly transport: 'tcp' | 'udp'
}

/**
 * Publishes by dynamic update, signed with TSIG in both directions. One message changes all records or none,
 * and its prerequisites are that the TXT records of every name touched still are those that were seen: of two
 * publishers at once, one is refused.
 *
 * @param options.servers name servers that are asked which server is the zone's primary
 * @param options.timeoutMs for each question and update, all retries included
 * @see https://www.rfc-editor.org/rfc/rfc2136
 * @see https://www.rfc-editor.org/rfc/rfc8945
 */
export function createUpdatePublisher(
  settings: UpdateSettings,
  options: { servers: readonly string[]; timeoutMs: number; now?: () => number }
): Publisher {
  const { now = Date.now } = options
  const fixed = settings.server === undefined ? undefined : parseServer(settings.server)

  /** Carries `make`'s message to the server and checks the answer's signature. */
  async function exchange(
    server: Server,
    key: TsigKey,
    message: Buffer,
    signal: AbortSignal
  ): Promise<Buffer> {
    const label = `the name server ${server.label}`
    try {
      return await within(options.timeoutMs, signal, async (limit) => {
        const to: Endpoint = { address: await addressOf(server, limit), port: server.port }
        const signed = sign(message, key, now())
        const answer =
          (settings.transport === 'udp' ? await exchangeOverUdp(to, signed.bytes, limit) : undefined) ??
          (await exchangeOverTcp(to, signed.bytes, limit))
        return verify(answer, signed, key, now())
      })
    } catch (error) {
      if (signal.aborted) throw signal.reason
      if (isAbort(error))
        throw new RegistryError('SOURCE_TIMEOUT', `${label} did not answer within ${options.timeoutMs} ms`)
      const refused = !(error instanceof ServerFailure)
      throw new RegistryError(refused ? 'DENIED' : 'SOURCE_FAILED', `${label} ${reason(error)}`, {
        cause: error
      })
    }
  }

  async function ask(server: Server, key: TsigKey, name: string, type: number, signal: AbortSignal) {
    const id = randomInt(0x10000)
    const answer = await exchange(server, key, encodeMessage({ id, opcode: QUERY, name, type }), signal)
    return { rcode: answer.readUInt16BE(2) & 0xf, bytes: answer, records: recordsOf(answer, server) }
  }

  /** The zone that holds `name` at this server: its SOA comes in the answer, or in the authority section. */
  async function zoneOf(server: Server, key: TsigKey, name: string, signal: AbortSignal): Promise<string> {
    if (settings.zone !== undefined) return settings.zone
    const { rcode, records } = await ask(server, key, name, TYPE.SOA, signal)
    const soa = records.find(
      ({ type, section, name: at }) =>
        type === TYPE.SOA && section !== 'additional' && (name === at || name.endsWith(`.${at}`))
    )
    if (soa !== undefined) return soa.name
    // an alias leads away from the zone that it stands in
    const parent = name.slice(name.indexOf('.') + 1)
    if (records.some(({ type }) => type === TYPE.CNAME) && parent.includes('.'))
      return zoneOf(server, key, parent, signal)
    throw new RegistryError(
      'SOURCE_FAILED',
      `the name server ${server.label} has no zone that holds ${name} (it answered code ${rcode}): name its primary as server=`
    )
  }

  /** What the server answers for a name, be it that name's own or a wildcard's. */
  async function answerFor(server: Server, key: TsigKey, name: string, signal: AbortSignal): Promise<Shown> {
    const { rcode, bytes, records } = await ask(server, key, name, TYPE.TXT, signal)
    if (rcode !== 0 && rcode !== 3)
      throw new RegistryError(
        'SOURCE_FAILED',
        `the name server ${server.label} does not tell the TXT records of ${name}: it answered ${REFUSALS[rcode] ?? `code ${rcode}`}`
      )
    const own = records.filter((record) => record.section === 'answer' && record.name === name)
    const alias = own.find(({ type }) => type === TYPE.CNAME)
    const texts = own.filter(({ type }) => type === TYPE.TXT)
    return {
      name,
      alias: alias && nameIn(bytes, alias),
      records: texts.map(({ data, ttl }) => ({ text: decodeTxt(data), ttl, handle: Buffer.from(data) }))
    }
  }

  /**
   * The records at a name. One that takes its answer from a wildcard has none: a name below it, which nobody has
   * made, has the same answer then (RFC 4592 section 3.3.1).
   */
  async function readSet(server: Server, key: TsigKey, name: string, signal: AbortSignal): Promise<ReadSet> {
    const shown = await answerFor(server, key, name, signal)
    const below = `${randomBytes(8).toString('hex')}.${name}`
    if ((shown.alias === undefined && shown.records.length === 0) || below.length > MAX_NAME)
      return asOwn(shown)
    const other = await answerFor(server, key, below, signal)
    return contentOf(other) === contentOf(shown) ? { name, records: [], shown } : asOwn(shown)
  }

  async function open(name: string, signal: AbortSignal): Promise<{ server: Server; key: TsigKey }> {
    const key = await readKeyFile(settings.keyFile).catch((error: unknown) => {
      throw new RegistryError('DENIED', reason(error), { cause: error })
    })
    return { server: fixed ?? (await findPrimary(name, { ...options, signal })), key }
  }

  return {
    what: `an RFC 2136 update ${fixed === undefined ? "of the zone's primary" : `at ${fixed.label}`}`,

    async read(names, { signal }) {
      const { server, key } = await open(names[0] as string, signal)
      return Promise.all(names.map((name) => readSet(server, key, name, signal)))
    },

    async write(changes, { seen, signal }) {
      const first = changes[0]?.name
      if (first === undefined) return
      const { server, key } = await open(first, signal)
      const zone = await zoneOf(server, key, first, signal)
      const touched = new Set(changes.map(({ name }) => name))
      const update = async (from: readonly RecordSet[]): Promise<number> => {
        const message = encodeMessage({
          id: randomInt(0x10000),
          opcode: UPDATE,
          name: zone,
          type: TYPE.SOA,
          answers: [...touched].flatMap((name) => prerequisites(name, from)),
          authorities: changes.flatMap((change) => replacement(change, from))
        })
        return (await exchange(server, key, message, signal)).readUInt16BE(2) & 0xf
      }
      let rcode = 0
      for (const variant of variantsOf(seen)) {
        rcode = await update(variant)
        if (!UNMET.has(rcode)) break
      }
      const where = `the name server ${server.label} refused to update the zone ${zone}`
      if (UNMET.has(rcode)) throw new ZoneChanged(`${where}: its records have been changed by somebody else`)
      if (rcode !== 0) throw new RegistryError('DENIED', `${where}: ${REFUSALS[rcode] ?? `code ${rcode}`}`)
      // RFC 2136 section 3.4.2.2: what can't be put there is passed over in silence
      const after = await Promise.all([...touched].map((name) => answerFor(server, key, name, signal)))
      for (const change of changes) {
        if (!isDone(change, after))
          throw new RegistryError(
            'SOURCE_FAILED',
            `the name server ${server.label} took the update of ${change.name}, but does not show it`
          )
      }
    }
  }
}

function recordsOf(answer: Buffer, server: Server): WireRecord[] {
  try {
    return readRecords(answer)
  } catch (error) {
    throw new RegistryError('SOURCE_FAILED', `the name server ${server.label} ${reason(error)}`, {
      cause: error
    })
  }
}

/** @throws {RegistryError} DENIED where an alias stands in the way of any other record */
function asOwn({ name, alias, records }: Shown): RecordSet {
  if (alias !== undefined)
    throw new RegistryError(
      'DENIED',
      `${name} is an alias (CNAME) of ${alias}, so it can have no record of its own: remove the alias, or publish there`
    )
  return { name, records }
}

/**
 * What may stand in the zone where `seen` was read, the likeliest first: a name's own records may be the same as
 * those of a wildcard below it, and which they are is for the prerequisites to find out.
 */
function variantsOf(seen: readonly ReadSet[]): RecordSet[][] {
  return seen.reduce<RecordSet[][]>(
    (variants, set) => {
      const { shown } = set
      const either = shown === undefined || shown.alias !== undefined ? [set] : [set, asOwn(shown)]
      return variants.flatMap((variant) => either.map((one) => variant.concat(one)))
    },
    [[]]
  )
}

/** What is shown, in a form to compare: servers turn the order of records. */
function contentOf({ alias, records }: Shown): string {
  return [alias ?? '', ...records.map(({ handle }) => (handle as Buffer).toString('hex')).toSorted()].join()
}

/** "The TXT records of this name are exactly these", or "there are none, and no alias": RFC 2136 sections 2.4.2 and 2.4.3. */
function prerequisites(name: string, seen: readonly RecordSet[]): Buffer[] {
  const records = recordsAt(seen, name)
  if (records.length === 0)
    return [TYPE.TXT, TYPE.CNAME].map((type) => encodeRecord({ name, type, class: CLASS.NONE, ttl: 0 }))
  return records.map(({ handle }) =>
    encodeRecord({ name, type: TYPE.TXT, class: CLASS.IN, ttl: 0, data: handle as Buffer })
  )
}

/** Takes the old records away one by one, so that others at the name stay, and adds the new one. */
function replacement(change: RecordChange, seen: readonly RecordSet[]): Buffer[] {
  const { name, prefix, record } = change
  const old = recordsAt(seen, name).filter(({ text }) => text.startsWith(prefix))
  const gone = old.map(({ handle }) =>
    encodeRecord({ name, type: TYPE.TXT, class: CLASS.NONE, ttl: 0, data: handle as Buffer })
  )
  if (record === undefined) return gone
  // records of one name and type share one TTL (RFC 2181 section 5.2): others of that kind keep theirs
  const other = recordsAt(seen, name).find(({ text }) => !text.startsWith(prefix))
  const data = encodeTxt(record.strings)
  return [
    ...gone,
    encodeRecord({ name, type: TYPE.TXT, class: CLASS.IN, ttl: other?.ttl ?? record.ttl, data })
  ]
}
