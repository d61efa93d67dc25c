import type { CID } from 'multiformats/cid'
import type { Records } from '../store/index.ts'

/** The key of the record that says that `root` is, or once was, the root of a domain's tree, or what it began from. */
export const pastKey = (domain: string, root: CID | string): string => `was/${domain}/${root}`

/** What such a record holds: when that became so last. */
export const pastValue = (): Uint8Array => Buffer.from(JSON.stringify({ at: new Date().toISOString() }))

/** When that became so last (epoch ms). */
export const pastTime = (value: Uint8Array): number =>
  Date.parse((JSON.parse(Buffer.from(value).toString()) as { at: string }).at)

/** The roots that a domain's tree has had, as far as they are remembered, with when they became that last (epoch ms). */
export async function* pastRoots(
  records: Pick<Records, 'list'>,
  domain: string
): AsyncGenerator<{ key: string; root: string; at: number }> {
  const prefix = pastKey(domain, '')
  for await (const [key, value] of records.list(prefix)) {
    yield { key, root: key.slice(prefix.length), at: pastTime(value) }
  }
}
