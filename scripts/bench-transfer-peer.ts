/**
 * The other processes of `bench-transfer.ts`, one a role. Each prints one JSON line when it listens and
 * serves until it is killed.
 *
 * - `file PATH`: that file over plain HTTP, nothing else.
 * - `proxy URL`: whatever comes from there, passed on as it is: the limit for a gateway that checks nothing.
 * - `bitswap DATA [HOST]`: a data folder's blocks over bitswap, without HTTP of any kind.
 * - `helia MULTIADDR CID`: a node as Helia's own packages make it, which answers GET with that file, read with
 *   `@helia/unixfs` over a bitswap session from that peer.
 * - `delay "LISTEN-HOST HOST PORT MS"`: a TCP proxy that passes everything on after so many milliseconds.
 */
import { createReadStream } from 'node:fs'
import { createServer, get, type RequestListener } from 'node:http'
import { type AddressInfo, connect, createServer as createTcpServer, type Socket } from 'node:net'
import { pipeline, Readable } from 'node:stream'
import { unixfs } from '@helia/unixfs'
import { multiaddr } from '@multiformats/multiaddr'
import { CID } from 'multiformats/cid'
import { createIpfs } from '../src/ipfs/index.ts'
import { createLog } from '../src/log.ts'
import { openStore } from '../src/store/index.ts'
import { heliaNode } from '../test/support/helia-node.ts'

const [role, argument = '', second = ''] = process.argv.slice(2)
const MiB = 1024 * 1024

async function serve(handler: RequestListener, host = '127.0.0.1'): Promise<void> {
  const server = createServer({ highWaterMark: 256 * 1024 }, handler)
  await new Promise<void>((resolve) => server.listen(0, host, resolve))
  const { port } = server.address() as AddressInfo
  console.log(JSON.stringify({ url: `http://${host}:${port}/`, port }))
}

/** Passes what comes on `from` on to `to` after `ms`, holding back no more than a router would. */
function delayed(from: Socket, to: Socket, ms: number): void {
  const queue: { at: number; chunk: Buffer | undefined }[] = []
  let held = 0
  let full = false
  let timer: NodeJS.Timeout | undefined
  const flush = () => {
    timer = undefined
    for (let head = queue[0]; head !== undefined && head.at <= performance.now(); head = queue[0]) {
      if (to.writableNeedDrain) {
        if (!full) to.once('drain', drained)
        full = true
        return
      }
      queue.shift()
      if (head.chunk === undefined) {
        to.end()
        return
      }
      held -= head.chunk.length
      to.write(head.chunk)
    }
    if (held < MOST_HELD) from.resume()
    const [next] = queue
    if (next !== undefined) timer = setTimeout(flush, Math.max(1, next.at - performance.now()))
  }
  const drained = () => {
    full = false
    flush()
  }
  const push = (chunk: Buffer | undefined) => {
    queue.push({ at: performance.now() + ms, chunk })
    held += chunk?.length ?? 0
    if (held >= MOST_HELD) from.pause()
    timer ??= setTimeout(flush, ms)
  }
  from.on('data', push)
  from.on('end', () => push(undefined))
  from.on('error', () => to.destroy())
  from.on('close', () => to.destroySoon())
}
const MOST_HELD = 8 * MiB

if (role === 'file') {
  await serve(
    (_, answer) =>
      pipeline(createReadStream(argument, { highWaterMark: MiB }), answer, () => {
        // a client that leaves is no concern of a benchmark's server
      }),
    second || '127.0.0.1'
  )
} else if (role === 'proxy') {
  await serve((_, answer) => {
    get(argument, { highWaterMark: 256 * 1024 } as object, (from) =>
      pipeline(from, answer, () => {
        // as above
      })
    )
  })
} else if (role === 'bitswap') {
  const store = await openStore({ folder: argument, reserve: 0 })
  const ipfs = await createIpfs({
    blockstore: store.blocks,
    datastore: store.datastore,
    records: store.records,
    listen: [`/ip4/${second || '127.0.0.1'}/tcp/0`],
    announce: [],
    routing: 'none',
    allowDial: 'any',
    log: createLog('silent'),
    timeouts: { dialMs: 5000, blockMs: 10_000, idleMs: 30_000 }
  })
  console.log(JSON.stringify({ addresses: ipfs.addresses() }))
} else if (role === 'helia') {
  const helia = await heliaNode(argument)
  const root = CID.parse(second)
  await serve((_, answer) => {
    const session = helia.blockstore.createSession(root, { providers: [multiaddr(argument)] })
    const bytes = unixfs({ ...helia, blockstore: session }).cat(root)
    pipeline(Readable.from(bytes, { objectMode: false }), answer, () => {
      // as above
    })
  })
} else if (role === 'delay') {
  const [listen, host, port, ms] = argument.split(' ')
  const server = createTcpServer({ allowHalfOpen: true, noDelay: true }, (client) => {
    const target = connect({ host, port: Number(port), allowHalfOpen: true, noDelay: true })
    delayed(client, target, Number(ms))
    delayed(target, client, Number(ms))
  })
  server.listen(0, listen, () =>
    console.log(JSON.stringify({ port: (server.address() as AddressInfo).port }))
  )
} else {
  console.error(
    'usage: bench-transfer-peer.ts file PATH [HOST] | proxy URL | bitswap DATA [HOST] | helia MULTIADDR CID | delay …'
  )
  process.exit(2)
}
