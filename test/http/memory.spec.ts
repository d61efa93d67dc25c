import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { load } from '../e2e/support/load.ts'
import { ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

setFlagsFromString('--expose-gc')
const collect = runInNewContext('gc') as () => void

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
      collect()
    }
    return process.memoryUsage().heapUsed
  }

  it('does not grow with the number of requests', async () => {
    const before = await heapAfter(2000)
    const after = await heapAfter(5000)
    // A kilobyte a request would be 5 MB.
    assert.ok(after < before + 4_000_000, `${before} → ${after}`)
  })
})
