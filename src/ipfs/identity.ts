import { generateKeyPair, privateKeyFromProtobuf, privateKeyToProtobuf } from '@libp2p/crypto/keys'
import type { PrivateKey } from '@libp2p/interface'
import type { Records } from '../store/records.ts'

/** Where the node's private key lies among the records. */
export const KEY_RECORD = 'libp2p/key'

/**
 * The node's private key: the kept one, or a new Ed25519 key that is durable before it is used, so that
 * a peer id that was once published stays ours.
 *
 * @throws Error when the kept key can't be read; it is never replaced silently, since the peer id in
 * published `ipfsnode=` records would then point at nobody.
 * @see https://github.com/libp2p/specs/blob/master/peer-ids/peer-ids.md
 */
export async function loadIdentity(records: Pick<Records, 'get' | 'put'>): Promise<PrivateKey> {
  const kept = await records.get(KEY_RECORD)
  if (kept !== undefined) {
    try {
      return privateKeyFromProtobuf(kept)
    } catch (cause) {
      throw new Error(
        `the node's private key (record ${KEY_RECORD}) can't be read; restore it, or delete the record to get a new peer id`,
        { cause }
      )
    }
  }
  const key = await generateKeyPair('Ed25519')
  await records.put(KEY_RECORD, privateKeyToProtobuf(key))
  return key
}
