/** An HTTP peer that hands out single blocks: for roots that are not what a root should be. */
import { createHash } from 'node:crypto'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { CID } from 'multiformats/cid'
import { create as createMultihash } from 'multiformats/hashes/digest'
import { carFrame, carHeader } from '../../support/ipfs-gateway.ts'

/** A peer with an HTTP address only. */
export interface BlockServer {
  /** `/ip4/127.0.0.1/tcp/<port>/http` */
  readonly address: string
  /** Keeps a block, and answers its CID; `code` is the codec's. */
  put(code: number, bytes: Uint8Array): CID
  stop(): Promise<void>
}

/** Starts one; whatever path below a block is asked for, it gives the block alone. */
export async function startBlockServer(): Promise<BlockServer> {
  // the empty block inside its CID is what a gateway is asked for to find out that it is one
  const blocks = new Map<string, Uint8Array>([['bafkqaaa', new Uint8Array()]])
  const server = createServer((request, response) => {
    const cid = new URL(request.url ?? '', 'http://x').pathname.split('/')[2] ?? ''
    const block = blocks.get(cid)
    const type = 'application/vnd.ipld.car; version=1; order=dfs; dups=y'
    if (block === undefined) response.writeHead(404).end()
    else
      response
        .writeHead(200, { 'content-type': type })
        .end(Buffer.concat([carHeader(CID.parse(cid)), carFrame(CID.parse(cid), block)]))
  })
  await new Promise<void>((done) => server.listen(0, '127.0.0.1', done))
  return {
    address: `/ip4/127.0.0.1/tcp/${(server.address() as AddressInfo).port}/http`,
    put(code, bytes) {
      const cid = CID.createV1(code, createMultihash(0x12, createHash('sha256').update(bytes).digest()))
      blocks.set(cid.toString(), bytes)
      return cid
    },
    async stop() {
      server.closeAllConnections()
      await new Promise<void>((done) => server.close(() => done()))
    }
  }
}
