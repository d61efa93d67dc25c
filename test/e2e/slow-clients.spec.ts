import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { ociClient } from '../support/oci-client.ts'
import { readBlob } from './support/blob-pull.ts'
import { type SeawayGateway, startGateway } from './support/gateway.ts'
import { tempDir } from './support/process.ts'
import { type SlowClients, startSlowClients } from './support/slow-clients.ts'

const MB = 1_000_000
const CLIENTS = 200

/** How long pulls take beside them is for `npm run bench:slow` to tell. */
describe('slow clients', () => {
  const layer = randomBytes(20 * MB)
  let dir: ReturnType<typeof tempDir>
  let gateway: SeawayGateway
  let slow: SlowClients

  before(async () => {
    dir = tempDir('slow')
    gateway = await startGateway({ dir: dir.path })
  })
  after(async () => {
    await slow?.stop()
    await gateway?.stop()
    await dir?.remove()
  })

  it(`${CLIENTS} with slow headers, slow bodies and slow ears keep nobody from pulling and pushing`, async () => {
    const port = Number(new URL(gateway.url).port)
    const client = ociClient({ port })
    const { digest } = await client.blob('app', layer)
    slow = await startSlowClients(port, CLIENTS, `/v2/app/blobs/${digest}`)
    for (let round = 0; round < 3; round++) {
      const { digest: image } = await client.image('app', `tag${round}`)
      assert.equal((await client.call('HEAD', `/v2/app/manifests/${image}`)).status, 200)
      const pulls = await Promise.all(
        [1, 2].map(async () => readBlob(await fetch(`${gateway.url}/v2/app/blobs/${digest}`), layer))
      )
      for (const pull of pulls) assert.ok(pull.whole, pull.message)
    }
    const { open, ended } = await slow.state()
    assert.equal(open, CLIENTS)
    assert.equal(ended, 0, 'they were at it all the time')
  })
})
