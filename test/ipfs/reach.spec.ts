/** Finding who has something, for as long as it is waited for. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { type DelegatedRouter, startDelegatedRouter } from '../e2e/support/delegated-router.ts'
import { addFile, content, startNode, stopNodes } from '../support/ipfs-nodes.ts'
import { memoryLog } from '../support/log.ts'

describe('a search for peers', function () {
  this.timeout(30_000)
  let router: DelegatedRouter

  afterEach(async () => {
    await stopNodes()
    await router.stop()
  })

  it('gives those who were found when its time is up', async () => {
    const { ipfs: there, store } = await startNode()
    const cid = await addFile(store, content(1000))
    const addresses = there.addresses().map((address) => address.replace(/\/p2p\/.*/, ''))
    router = await startDelegatedRouter({ id: there.peerId, addresses }, { endless: true })
    const { log, lines } = memoryLog()
    const { ipfs } = await startNode({ log, routing: 'public', network: { delegatedRouters: [router.url] } })
    const end = new AbortController()
    const found = ipfs.find(cid, { signal: end.signal })
    while (!lines.some(({ msg }) => msg === 'found a provider')) await sleep(5)
    end.abort(new Error('its time is up'))
    assert.deepEqual((await found).map(String), [there.peerId])
  })

  it('fails with the reason why it ended where nobody was', async () => {
    const { ipfs: there, store } = await startNode()
    const cid = await addFile(store, content(1000))
    router = await startDelegatedRouter({ id: there.peerId, addresses: [] }, { endless: true })
    const { ipfs } = await startNode({ routing: 'public', network: { delegatedRouters: [router.url] } })
    await assert.rejects(ipfs.find(cid, { signal: AbortSignal.timeout(100) }), { name: 'TimeoutError' })
  })
})
