import { createIPNSRecord, IPNSEntry, ipnsValidator, multihashToIPNSRoutingKey } from '@helia/ipns'
import { decode as decodeCbor } from '@ipld/dag-cbor'
import { publicKeyFromProtobuf } from '@libp2p/crypto/keys'
import type { PrivateKey } from '@libp2p/interface'
import { base16 } from 'multiformats/bases/base16'
import { base32 } from 'multiformats/bases/base32'
import { base36 } from 'multiformats/bases/base36'
import { base58btc } from 'multiformats/bases/base58'
import { CID } from 'multiformats/cid'
import { decode as decodeMultihash } from 'multiformats/hashes/digest'
import { quote } from './failure.ts'
import { pickProviders } from './ipfsnode.ts'

/** The largest record, in bytes. @see https://specs.ipfs.tech/ipns/ipns-record/#record-size-limit */
export const MAX_RECORD = 10 * 1024

/** The media type of a record. */
export const RECORD_TYPE = 'application/vnd.ipfs.ipns-record'

const LIBP2P_KEY = 0x72
const MAX_NAME = 200
// The field of a record's data with the multiaddrs of those who have the root, as ipfsnode= has them in DNS;
// the underscore marks it as nobody's standard.
const PEERS = '_ipfsnode'
const MS = 1_000_000n
const decoders = base36.decoder.or(base58btc.decoder).or(base32.decoder).or(base16.decoder)

/** An IPNS name. */
export interface IpnsName {
  /** As a CIDv1 of the key in base36: `k51…`. */
  readonly text: string
  readonly cid: CID
  /** What a DHT keeps its record under. */
  readonly routingKey: Uint8Array
}

/** A record that was checked. */
export interface IpnsRecord {
  readonly bytes: Uint8Array
  /** `/ipfs/…` or `/ipns/…` */
  readonly value: string
  readonly sequence: bigint
  /** Epoch ms. */
  readonly validUntil: number
  /** How long it may be used without asking for a newer one, in milliseconds. */
  readonly ttlMs: number
  /** Multiaddrs that travel with it. */
  readonly providers: readonly string[]
}

/**
 * Reads a name in any of its forms: a CID of a key in any base, or the key's bare multihash in base58.
 * `undefined` for what is none.
 *
 * @see https://specs.ipfs.tech/ipns/ipns-record/#string-representation
 */
export function parseIpnsName(text: string): IpnsName | undefined {
  if (text.length > MAX_NAME) return undefined
  try {
    const bare = /^(1|Qm)/.test(text)
    const multihash = bare
      ? decodeMultihash(base58btc.decode(`z${text}`))
      : CID.parse(text, decoders).multihash
    if (!bare && CID.parse(text, decoders).code !== LIBP2P_KEY) return undefined
    return nameOf(CID.createV1(LIBP2P_KEY, multihash))
  } catch {
    return undefined // every way to be no name is the same to the callers, who say so themselves
  }
}

// the library's own type of a key, of which it uses what libp2p's keys have too
type SigningKey = Parameters<typeof createIPNSRecord>[0]

/** The name that belongs to a key. */
export function nameOfKey(key: PrivateKey): IpnsName {
  return nameOf(CID.createV1(LIBP2P_KEY, key.publicKey.toMultihash()))
}

function nameOf(cid: CID): IpnsName {
  return { text: cid.toString(base36), cid, routingKey: multihashToIPNSRoutingKey(cid.multihash) }
}

/**
 * Makes and signs a record (with both signatures, so that every reader takes it).
 *
 * @throws Error when it would be too long
 * @see https://specs.ipfs.tech/ipns/ipns-record/#record-creation
 */
export async function makeRecord(
  key: PrivateKey,
  what: {
    value: string
    sequence: bigint
    lifetimeMs: number
    ttlMs: number
    providers: readonly string[]
    now: number
  }
): Promise<Uint8Array> {
  const entry = await createIPNSRecord(
    key as unknown as SigningKey,
    what.value,
    what.sequence,
    what.lifetimeMs,
    {
      ttlNs: BigInt(what.ttlMs) * MS,
      now: what.now,
      ...(what.providers.length === 0 ? {} : { data: { [PEERS]: [...what.providers] } })
    }
  )
  const bytes = IPNSEntry.encode(entry)
  if (bytes.length > MAX_RECORD)
    throw new Error(`the IPNS record would have ${bytes.length} bytes; ${MAX_RECORD} are allowed`)
  return bytes
}

/**
 * Checks a record: that it is signed by the key of `name`, and holds now.
 *
 * @throws Error that says what is wrong with it
 * @see https://specs.ipfs.tech/ipns/ipns-record/#record-verification
 */
export async function readRecord(name: IpnsName, bytes: Uint8Array, now: number): Promise<IpnsRecord> {
  if (bytes.length > MAX_RECORD) throw new Error(`it has ${bytes.length} bytes; ${MAX_RECORD} are allowed`)
  const expired = expiryOf(bytes)
  if (expired !== undefined && expired <= now)
    throw new Error(`it expired at ${new Date(expired).toISOString()}`)
  await ipnsValidator(name.routingKey, bytes, KEYCHAIN)
  return fieldsOf(bytes)
}

/** Of the library's keychain the check needs only this. */
const KEYCHAIN = {
  loadPublicKeyFromProtobuf: async (bytes: Uint8Array) => publicKeyFromProtobuf(bytes)
} as unknown as Parameters<typeof ipnsValidator>[2]

/** When a record runs out (epoch ms), whoever signed it; `undefined` when it doesn't say. */
function expiryOf(bytes: Uint8Array): number | undefined {
  try {
    return fieldsOf(bytes).validUntil
  } catch {
    return undefined // the check says what is wrong
  }
}

/** What a record says, whoever signed it. @throws Error for one that doesn't say it */
export function fieldsOf(bytes: Uint8Array): IpnsRecord {
  const { data } = IPNSEntry.decode(bytes)
  if (data === undefined) throw new Error('it has no data')
  const fields = decodeCbor<Record<string, unknown>>(data)
  const { Value: value, Validity: validity, Sequence: sequence, TTL: ttl } = fields
  if (!(value instanceof Uint8Array) || !(validity instanceof Uint8Array))
    throw new Error('its data is not complete')
  const validUntil = Date.parse(Buffer.from(validity).toString())
  if (Number.isNaN(validUntil)) throw new Error('it has no time until which it holds')
  const path = Buffer.from(value).toString()
  if (!/^\/ip[fn]s\/[!-~]+$/.test(path))
    throw new Error(`its value ${quote(path)} is no /ipfs/ or /ipns/ path`)
  return {
    bytes,
    value: path,
    sequence: BigInt(sequence as number | bigint),
    validUntil,
    ttlMs: Number(BigInt((ttl as number | bigint | undefined) ?? 0) / MS),
    providers: providersIn(fields[PEERS])
  }
}

/** The multiaddrs of a record: what isn't one is left out, as in DNS. */
function providersIn(field: unknown): readonly string[] {
  if (!Array.isArray(field)) return []
  const texts = field.filter((each): each is string => typeof each === 'string')
  return pickProviders([`ipfsnode=${JSON.stringify(texts)}`], 'IPNS').providers
}

/**
 * Whether `a` replaces `b`: a higher sequence, or the same content for longer.
 *
 * @see https://specs.ipfs.tech/ipns/ipns-record/#record-selection
 */
export function replaces(a: IpnsRecord, b: IpnsRecord): boolean {
  if (a.sequence !== b.sequence) return a.sequence > b.sequence
  return a.validUntil > b.validUntil
}
