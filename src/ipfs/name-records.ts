import { IPNSEntry, ipnsSelector, ipnsValidator } from '@helia/ipns'
import { publicKeyFromProtobuf } from '@libp2p/crypto/keys'
import type { SingleKadDHT } from '@libp2p/kad-dht'
import type { CID } from 'multiformats/cid'

/** A record of an IPNS name, as somebody gave it. */
export interface NameRecord {
  /** Who: the address of a service, or the name of a DHT. */
  readonly by: string
  readonly bytes: Uint8Array
}

/** The largest record that a DHT may hand on, in bytes. @see https://specs.ipfs.tech/ipns/ipns-record/#record-size-limit */
export const MAX_RECORD = 10 * 1024

/** Of the library's keychain the check needs only this. */
const KEYCHAIN = {
  loadPublicKeyFromProtobuf: async (bytes: Uint8Array) => publicKeyFromProtobuf(bytes)
} as unknown as Parameters<typeof ipnsValidator>[2]

/** How a DHT judges records of IPNS names: signed by the name's key, not expired, and the newest of several. */
export const NAME_RULES = {
  validators: {
    ipns: async (key: Uint8Array, value: Uint8Array): Promise<void> => {
      if (value.length > MAX_RECORD) throw new Error('the record is too large')
      await ipnsValidator(key, value, KEYCHAIN)
    }
  },
  selectors: {
    ipns: (key: Uint8Array, values: Uint8Array[]): number =>
      ipnsSelector(
        key,
        values.map((value) => IPNSEntry.decode(value))
      )
  }
}

/** What a DHT keeps a name's record under. @see https://specs.ipfs.tech/ipns/ipns-record/#routing-record */
export function routingKeyOf(name: CID): Uint8Array {
  return Buffer.concat([Buffer.from('/ipns/'), name.multihash.bytes])
}

/** The records of a name in a DHT, as its peers give them. */
export async function* recordsInDht(
  by: string,
  dht: SingleKadDHT,
  name: CID,
  signal: AbortSignal
): AsyncGenerator<NameRecord> {
  for await (const event of dht.get(routingKeyOf(name), { signal })) {
    if (event.name === 'VALUE') yield { by, bytes: event.value }
  }
}

/** Gives a record to the peers of a DHT that are nearest to the name; returns how many took it. */
export async function putIntoDht(
  dht: SingleKadDHT,
  name: CID,
  bytes: Uint8Array,
  signal: AbortSignal
): Promise<number> {
  let count = 0
  for await (const event of dht.put(routingKeyOf(name), bytes, { signal })) {
    if (event.name === 'PEER_RESPONSE' && event.messageName === 'PUT_VALUE') count++
  }
  return count
}
