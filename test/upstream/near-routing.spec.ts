/** Small blobs of other registries from peers whom nothing but the network's routing names. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { type DelegatedRouter, startDelegatedRouter } from '../e2e/support/delegated-router.ts'
import { useNearGateways } from '../support/near-gateways.ts'

const MiB = 1024 * 1024

describe('images of other registries that the network knows somebody to have', function () {
  this.timeout(60_000)
  const { open, gateway, pull, asked } = useNearGateways()
  const routers: DelegatedRouter[] = []

  afterEach(async () => {
    for (const router of routers.splice(0)) await router.stop()
  })

  for (const endless of [false, true])
    it(`come from them where their CIDs follow from their digests${endless ? ', though the search goes on' : ''}`, async () => {
      const there = await open()
      const made = there.image('a/b', '1', [randomBytes(2 * MiB), randomBytes(MiB)])
      const [large, small] = made.layers as [string, string]
      const first = await gateway()
      await pull(first)
      const id = /\/p2p\/(\w+)$/.exec(first.addresses()[0] ?? '')?.[1] ?? ''
      const provider = { id, addresses: first.addresses().map((address) => address.replace(/\/p2p\/.*/, '')) }
      const router = await startDelegatedRouter(provider, { endless })
      routers.push(router)
      const second = await gateway({ routers: [router.url] })
      const before = there.asked.length
      const lines = await asked(() => pull(second))
      const digests = there.asked.slice(before).filter((line) => line.startsWith('GET /v2/a/b/blobs/'))
      assert.deepEqual(digests, [`GET /v2/a/b/blobs/${large}`], lines.join())
      assert.ok(!there.asked.slice(before).some((line) => line.includes(small)))
      // nobody is asked for what no CID is known of
      assert.equal(router.asked.filter((path) => path.startsWith('/routing/v1/providers/')).length, 2)
    })

  it('come from the registry where whom it names has not got them', async () => {
    const there = await open()
    there.image('a/b', '1', [randomBytes(MiB)])
    const empty = await gateway()
    const id = /\/p2p\/(\w+)$/.exec(empty.addresses()[0] ?? '')?.[1] ?? ''
    const router = await startDelegatedRouter({
      id,
      addresses: empty.addresses().map((address) => address.replace(/\/p2p\/.*/, ''))
    })
    routers.push(router)
    const second = await gateway({ routers: [router.url] })
    const lines = await asked(() => pull(second))
    assert.equal(lines.filter((line) => line.startsWith('GET /v2/a/b/blobs')).length, 2)
    // once for each blob: where the registry has it, nobody waits for others to be found
    assert.equal(router.asked.filter((path) => path.startsWith('/routing/v1/providers/')).length, 2)
  })
})
