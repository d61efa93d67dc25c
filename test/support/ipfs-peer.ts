/**
 * A peer in a process of its own: adds a file of as many random bytes as its argument says, prints one
 * JSON line with its addresses and the root, and serves until it is killed.
 */
import { createServer } from 'node:http'
import { testGateway } from './ipfs-gateway.ts'
import { addFile, content, startNode } from './ipfs-nodes.ts'

const [size = '1000000', seed] = process.argv.slice(2)
const { ipfs, store } = await startNode({ listen: ['/ip4/127.0.0.1/tcp/0', '/ip4/127.0.0.1/tcp/0/ws'] })
const bytes = seed === undefined ? content(Number(size)) : Buffer.alloc(Number(size), seed)
const root = await addFile(store, bytes)
const { handler } = testGateway(store)
await ipfs.serveHttp(createServer(handler))
const http = createServer(handler)
await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
const { port } = http.address() as { port: number }
console.log(
  JSON.stringify({
    addresses: ipfs.addresses(),
    gateway: `/ip4/127.0.0.1/tcp/${port}/http`,
    root: root.toString()
  })
)
