import assert from 'node:assert/strict'
import { createMet } from '../../src/registry/met.ts'
import { openStore, type Store } from '../../src/store/index.ts'
import { tempFolder } from '../support/temp.ts'

describe('registry: peers met before', () => {
  const temp = tempFolder()
  let store: Store
  before(async () => {
    store = await openStore({ folder: temp.path, reserve: 0 })
  })
  after(async () => {
    await store.close()
    await temp.remove()
  })
  const address = (peer: string) => [`/ip4/127.0.0.1/tcp/4001/p2p/${peer}`]

  it('are kept by domain, the last one first, eight of them, over a restart', async () => {
    const met = createMet(store.records)
    assert.deepEqual(await met.of('ships.example'), [])
    for (let i = 0; i < 10; i++) await met.note('ships.example', `p${i}`, address(`p${i}`))
    await met.note('ships.example', 'p5', address('p5'))
    const again = createMet(store.records)
    const peers = (await again.of('ships.example')).map(({ peer }) => peer)
    assert.deepEqual(peers, ['p5', 'p9', 'p8', 'p7', 'p6', 'p4', 'p3', 'p2'])
    assert.deepEqual((await again.of('ships.example'))[0]?.addresses, address('p5'))
    assert.equal(met.lately('ships.example', 'p5'), true)
    assert.equal(met.lately('docks.example', 'p5'), false)
  })

  it('are of a thousand domains: the one that was heard of longest ago goes', async () => {
    const met = createMet(store.records)
    for (let i = 0; i < 1001; i++) {
      const entry = [{ peer: 'p', addresses: address('p'), at: 1000 + ((i * 7) % 1001) }]
      await store.records.put(`met/d${i}.example`, Buffer.from(JSON.stringify(entry)))
    }
    await met.note('new.example', 'p', address('p'))
    assert.deepEqual(await met.of('d0.example'), [])
    assert.equal((await met.of('new.example')).length, 1)
    assert.equal((await met.of('d1.example')).length, 1)
  })

  it('without an address are of no use', async () => {
    const met = createMet(store.records)
    await met.note('quiet.example', 'p', [])
    assert.deepEqual(await met.of('quiet.example'), [])
  })
})
