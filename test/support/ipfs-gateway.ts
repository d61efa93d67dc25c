import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import { Readable } from 'node:stream'
import { pipeline } from 'node:stream/promises'
import * as dagPb from '@ipld/dag-pb'
import { UnixFS } from 'ipfs-unixfs'
import { CID } from 'multiformats/cid'
import type { WatchedBlockstore } from './ipfs-nodes.ts'

/** What a test gateway was asked, and how it should misbehave. */
export interface TestGateway {
  handler: RequestListener
  requests: string[]
  /** Blocks that have been written. */
  sent: number
  /** Called before each block: may wait, end the connection, or give other bytes (`null` leaves it out). */
  sending: (index: number, answer: ServerResponse) => Promise<Uint8Array | null | undefined>
}

/** A trustless gateway over a store, as small as it can be: whole files, and ranges of their bytes. */
export function testGateway(store: WatchedBlockstore): TestGateway {
  const gateway: TestGateway = {
    requests: [],
    sent: 0,
    sending: async () => undefined,
    handler: (request, answer) => {
      serve(request, answer).catch((error: Error) => answer.destroy(error))
    }
  }

  async function serve(request: IncomingMessage, answer: ServerResponse): Promise<void> {
    gateway.requests.push(request.url ?? '')
    const url = new URL(request.url ?? '', 'http://x')
    const root = CID.parse(url.pathname.split('/')[2] ?? '')
    const [first, last = '*'] = url.searchParams.get('entity-bytes')?.split(':') ?? []
    const range = { from: Number(first ?? 0), to: last === '*' ? Number.POSITIVE_INFINITY : Number(last) }
    answer.writeHead(200, { 'content-type': 'application/vnd.ipld.car; version=1; order=dfs; dups=y' })
    answer.write(carHeader(root))
    await pipeline(Readable.from(frames(root, range, answer), { highWaterMark: 1 }), answer)
  }

  async function* frames(root: CID, range: Range, answer: ServerResponse): AsyncGenerator<Buffer> {
    let index = 0
    for (const [cid, block] of walk(store, root, range)) {
      const other = await gateway.sending(index++, answer)
      if (other === null) continue
      gateway.sent++
      yield carFrame(cid, other ?? block)
    }
  }
  return gateway
}

/** The header of a CARv1 with one root. */
export function carHeader(root: CID): Buffer {
  const body = Buffer.concat([
    Buffer.from([0xa2, 0x65]),
    Buffer.from('roots'),
    Buffer.from([0x81, 0xd8, 0x2a, 0x58, root.bytes.length + 1, 0]),
    root.bytes,
    Buffer.from([0x67]),
    Buffer.from('version'),
    Buffer.from([1])
  ])
  return Buffer.concat([varint(body.length), body])
}

/** One frame of a CARv1. */
export function carFrame(cid: CID, block: Uint8Array): Buffer {
  return Buffer.concat([varint(cid.bytes.length + block.length), cid.bytes, block])
}

function varint(value: number): Buffer {
  const bytes: number[] = []
  let left = value
  for (; left > 127; left = Math.floor(left / 128)) bytes.push((left & 127) | 128)
  return Buffer.from([...bytes, left])
}

/** The first and the last byte that are wanted. */
interface Range {
  from: number
  to: number
}

function* walk(store: WatchedBlockstore, cid: CID, range: Range, at = 0): Generator<[CID, Uint8Array]> {
  const block = store.peek(cid)
  yield [cid, block]
  if (cid.code !== dagPb.code) return
  const node = dagPb.decode(block)
  const { blockSizes, data } = UnixFS.unmarshal(node.Data ?? new Uint8Array())
  let offset = at + (data?.length ?? 0)
  for (const [index, { Hash }] of node.Links.entries()) {
    const start = offset
    offset += Number(blockSizes[index])
    if (offset > range.from && start <= range.to) yield* walk(store, Hash, range, start)
  }
}
