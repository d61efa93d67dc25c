import assert from 'node:assert/strict'
import { createServer, get, type IncomingMessage, type Server } from 'node:http'
import { setTimeout as sleep } from 'node:timers/promises'
import { multiaddr } from '@multiformats/multiaddr'
import { originOf } from '../../src/ipfs/gateway.ts'
import type { Timeouts } from '../../src/ipfs/types.ts'
import { testGateway } from '../support/ipfs-gateway.ts'
import {
  addFile,
  content,
  forever,
  PATIENT,
  PROFILES,
  readAll,
  startNode,
  stopNodes
} from '../support/ipfs-nodes.ts'

const MiB = 1024 * 1024

describe('ipfs: files out of CARs over HTTP', () => {
  const servers: Server[] = []
  afterEach(async () => {
    for (const server of servers.splice(0)) {
      server.closeAllConnections()
      server.close()
    }
    await stopNodes()
  })

  /** A server with a gateway, and a client connected to it. `over` says how the gateway is reached. */
  async function pair(over: 'http' | 'stream', timeouts?: Timeouts) {
    const server = await startNode()
    const client = await startNode({ listen: [], ...(timeouts && { timeouts }) })
    const gateway = testGateway(server.store)
    const http = createServer(gateway.handler)
    servers.push(http)
    const addresses = server.ipfs.addresses()
    if (over === 'stream') await server.ipfs.serveHttp(http)
    else {
      await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve))
      addresses.push(
        `/ip4/127.0.0.1/tcp/${(http.address() as { port: number }).port}/http/p2p/${server.ipfs.peerId}`
      )
    }
    const peers = await client.ipfs.connect(addresses, { signal: forever() })
    return { server, client, gateway, peers }
  }

  for (const over of ['http', 'stream'] as const) {
    describe(over === 'http' ? 'plain' : 'over a libp2p stream', () => {
      for (const profile of Object.keys(PROFILES) as (keyof typeof PROFILES)[]) {
        it(`${profile}: whole and from any byte, without bitswap`, async () => {
          const { server, client, gateway, peers } = await pair(over)
          const { chunkSize } = PROFILES[profile]
          const size = Math.min(chunkSize * 30 + 5, 3_500_000)
          const bytes = content(size)
          const root = await addFile(server.store, bytes, profile)
          for (const from of [0, 1, chunkSize, Math.floor(size / 2), size - 1]) {
            const fresh = await startNode({ listen: [] })
            const known = await fresh.ipfs.connect(server.ipfs.addresses(), { signal: forever() })
            const node = from === 0 ? client : fresh
            const leaves = node.ipfs.leaves(root, {
              peers: from === 0 ? peers : known,
              from,
              signal: forever(),
              gateways: over === 'http' ? [`/ip4/127.0.0.1/tcp/${port()}/http`] : []
            })
            const got = await readAll(leaves)
            assert.deepEqual(got, Buffer.from(bytes.subarray(size - got.length)))
            assert.ok(got.length >= size - from && got.length < size - from + chunkSize)
          }
          assert.equal(gateway.requests.length, 5)
          assert.deepEqual(server.store.reads, [])
        })
      }

      it('the same leaf many times over, and leaves that are here already', async () => {
        const { server, client, gateway, peers } = await pair(over)
        const bytes = Buffer.concat([
          Buffer.alloc(3 * MiB),
          content(2 * MiB),
          Buffer.alloc(2 * MiB),
          content(MiB)
        ])
        const root = await addFile(server.store, bytes)
        await addFile(client.store, bytes.subarray(3 * MiB, 4 * MiB))
        assert.deepEqual(await readAll(client.ipfs.leaves(root, { peers, signal: forever() })), bytes)
        assert.match(gateway.requests[1] ?? '', new RegExp(`entity-bytes=${4 * MiB}:`))
        assert.equal(gateway.requests.length, 2)
        assert.deepEqual(server.store.reads, [])
      })

      it('a stream that is cut is taken up again where it broke', async () => {
        const { server, client, gateway, peers } = await pair(over)
        const bytes = content(6 * MiB)
        const root = await addFile(server.store, bytes)
        gateway.sending = async (index, answer) => {
          if (index === 4 && gateway.requests.length === 1) {
            // what was written has to arrive before the cut
            await sleep(100)
            answer.destroy()
          }
          return undefined
        }
        assert.deepEqual(await readAll(client.ipfs.leaves(root, { peers, signal: forever() })), bytes)
        assert.equal(gateway.requests.length, 2)
        assert.match(gateway.requests[1] ?? '', /entity-bytes=\d+:\*/)
        assert.deepEqual(server.store.reads, [])
      })

      const misdeeds: [string, (answer: { destroy(): void }) => Promise<Uint8Array | null>][] = [
        ['sends a wrong block', async () => content(1000)],
        ['leaves a block out', async () => null],
        ['falls silent', () => new Promise(() => {})]
      ]
      for (const [what, does] of misdeeds) {
        it(`one that ${what} gives way to bitswap at that block`, async () => {
          const { server, client, gateway, peers } = await pair(over, { ...PATIENT, blockMs: 4000 })
          const bytes = content(6 * MiB)
          const root = await addFile(server.store, bytes)
          gateway.sending = async (index, answer) => (index === 4 ? does(answer) : undefined)
          assert.deepEqual(await readAll(client.ipfs.leaves(root, { peers, signal: forever() })), bytes)
          assert.ok(
            server.store.reads.length >= 1 && server.store.reads.length <= 3,
            `${server.store.reads.length}`
          )
        })
      }

      it('a slow consumer holds the stream back, and leaving ends it', async () => {
        const { server, client, gateway, peers } = await pair(over)
        const root = await addFile(server.store, content(96 * MiB))
        let taken = 0
        for await (const _ of client.ipfs.leaves(root, { peers, signal: forever() })) {
          if (++taken < 3) continue
          for (let before = -1; before !== gateway.sent; await sleep(200)) before = gateway.sent
          // the window of the file, that of the stream, and what lies in sockets
          assert.ok(gateway.sent < 60, `${gateway.sent} blocks were sent for ${taken} taken`)
          break
        }
        for (let before = -1; before !== gateway.sent; await sleep(200)) before = gateway.sent
        assert.ok(gateway.sent < 70)
      })

      function port(): number {
        const server = servers.at(-1) as Server
        return (server.address() as { port: number }).port
      }
    })
  }

  it('an answer that is no CAR gives way to bitswap', async () => {
    const { server, client, gateway, peers } = await pair('http')
    gateway.handler = () => {}
    servers[0]?.removeAllListeners('request')
    servers[0]?.on('request', (_, answer: import('node:http').ServerResponse) => answer.end('<html>'))
    const bytes = content(2 * MiB)
    const root = await addFile(server.store, bytes)
    assert.deepEqual(await readAll(client.ipfs.leaves(root, { peers, signal: forever() })), bytes)
  })

  it('requests can be made over streams to a peer', async () => {
    const server = await startNode()
    const client = await startNode({ listen: [] })
    const http = createServer((request, answer) => {
      request.resume()
      request.on('end', () => answer.end(Buffer.alloc(20 * MiB, 'x')))
    })
    servers.push(http)
    await server.ipfs.serveHttp(http)
    const [peer] = await client.ipfs.connect(server.ipfs.addresses(), { signal: forever() })
    assert.ok(peer)
    const agent = client.ipfs.httpAgentFor(peer)
    const sizes = await Promise.all(
      [1, 2, 3].map(
        () =>
          new Promise<number>((resolve, reject) => {
            get('http://peer.invalid/', { agent }, (answer: IncomingMessage) => {
              let size = 0
              answer.on('data', (chunk: Buffer) => {
                size += chunk.length
              })
              answer.on('end', () => resolve(size))
              answer.on('error', reject)
            }).on('error', reject)
          })
      )
    )
    assert.deepEqual(sizes, [20 * MiB, 20 * MiB, 20 * MiB])
  })

  const origins: [string, string | undefined][] = [
    ['/ip4/1.2.3.4/tcp/80/http', 'http://1.2.3.4'],
    [
      '/ip4/1.2.3.4/tcp/8080/http/p2p/12D3KooWHRTWyaMAkCwESwn4E6C6pKyNxvGgvKvf2qiz2HrZ5fnr',
      'http://1.2.3.4:8080'
    ],
    ['/ip6/2001:db8::1/tcp/8080/http', 'http://[2001:db8::1]:8080'],
    ['/dns4/example.com/tcp/443/tls/http', 'https://example.com'],
    ['/dns/example.com/tcp/8443/https', 'https://example.com:8443'],
    ['/dns4/example.com/tcp/4001', undefined],
    ['/dns4/example.com/tcp/443/tls/ws', undefined],
    ['/dns4/example.com/udp/443/http', undefined]
  ]
  for (const [address, origin] of origins) {
    it(`${address} stands for ${origin}`, () => assert.equal(originOf(multiaddr(address))?.origin, origin))
  }
})
