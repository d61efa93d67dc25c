import assert from 'node:assert/strict'
import { connect } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { load } from '../e2e/support/load.ts'
import { collectGarbage } from '../support/collect-garbage.ts'
import { ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'
import { seededBytes } from '../support/temp.ts'

describe('memory over HTTP', function () {
  this.timeout(60_000)
  let server: RegistryServer

  before(async () => {
    server = await startRegistryServer({ pullTimeoutMs: 500 })
    await ociClient(server).image('app', '1')
  })
  after(() => server.stop())

  /** What stays of `count` requests, in bytes of heap. */
  async function heapAfter(count: number): Promise<number> {
    const request = () => ({ method: 'GET', path: '/v2/app/manifests/1' })
    await load({ port: server.port, host: server.host, connections: 8, count, request })
    // Deadlines that were set have passed by then.
    for (let i = 0; i < 3; i++) {
      await sleep(300)
      collectGarbage()
    }
    return process.memoryUsage().heapUsed
  }

  it('does not grow with the number of requests', async () => {
    const before = await heapAfter(2000)
    const after = await heapAfter(5000)
    // A kilobyte a request would be 5 MB.
    assert.ok(after < before + 4_000_000, `${before} → ${after}`)
  })

  it('goes round between clients, of whom many go away in the middle, and each gets its own bytes', async () => {
    const client = ociClient(server)
    const contents = [1, 2, 3].map((seed) => seededBytes(12_000_000 + seed, seed))
    const paths: string[] = []
    for (const bytes of contents) paths.push(`/v2/app/blobs/${(await client.blob('app', bytes)).digest}`)
    const path = (i: number) => paths[i % paths.length] as string

    /** Takes some of an answer, and goes. */
    async function cutOff(i: number): Promise<void> {
      const socket = connect(server.port, '127.0.0.1')
      socket.on('error', () => {})
      socket.write(`GET ${path(i)} HTTP/1.1\r\nHost: x\r\n\r\n`)
      let left = i * 100_000
      for await (const chunk of socket) if ((left -= (chunk as Buffer).length) < 0) break
    }
    async function whole(i: number): Promise<void> {
      const { body } = await client.call('GET', path(i))
      assert.ok(body.equals(contents[i % contents.length] as Buffer), path(i))
    }
    for (let round = 0; round < 3; round++) {
      const going = Array.from({ length: 40 }, (_, i) => cutOff(i))
      await Promise.all([...going, ...Array.from({ length: 6 }, (_, i) => whole(i))])
    }
  })
})
