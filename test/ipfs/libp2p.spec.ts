import assert from 'node:assert/strict'
import { generateKeyPair } from '@libp2p/crypto/keys'
import type { Libp2p } from '@libp2p/interface'
import { MemoryDatastore } from 'datastore-core'
import { composeLibp2p, type Network, QUIET } from '../../src/ipfs/libp2p.ts'
import { createPolicy } from '../../src/ipfs/policy.ts'

describe('ipfs: the libp2p node', () => {
  const nodes: Libp2p[] = []
  afterEach(async () => {
    for (const node of nodes.splice(0)) await node.stop()
  })

  async function start(network: Partial<Network> = {}, listen = '/ip4/127.0.0.1/tcp/0'): Promise<Libp2p> {
    const node = await composeLibp2p({
      privateKey: await generateKeyPair('Ed25519'),
      datastore: new MemoryDatastore(),
      listen: [listen],
      announce: [],
      routing: 'none',
      network: { ...QUIET, ...network },
      policy: createPolicy('any'),
      dialMs: 5000
    })
    nodes.push(node)
    await node.start()
    return node
  }
  const signal = () => AbortSignal.timeout(10_000)

  it('speaks TLS with its like, and does not take noise first', async () => {
    const [one, two] = [await start(), await start()]
    const connection = await one.dial(two.getMultiaddrs(), { signal: signal() })
    assert.equal(connection.encryption, '/tls/1.0.0')
  })

  it('looks for nobody unless it is told to', async () => {
    const node = await start()
    assert.deepEqual(Object.keys(node.services).toSorted(), ['dcutr', 'identify', 'listeners', 'ping'])
  })

  it('is reached through another one that is a relay', async () => {
    const relay = await start({ relayServer: true })
    const dialler = await start()
    const { relayKeeper } = await import('../../src/ipfs/relay.ts')
    const { createLog } = await import('../../src/log.ts')
    const [through] = relay.getMultiaddrs().map(String)
    const hidden = await composeLibp2p({
      privateKey: await generateKeyPair('Ed25519'),
      datastore: new MemoryDatastore(),
      listen: [],
      announce: [],
      routing: 'none',
      keeper: relayKeeper([through as string], createLog('silent')),
      policy: createPolicy('any'),
      dialMs: 5000
    })
    nodes.push(hidden)
    await hidden.start()
    const [address] = hidden.getMultiaddrs()
    assert.equal(address?.toString(), `${through}/p2p-circuit/p2p/${hidden.peerId}`)
    const connection = await dialler.dial(address, { signal: signal() })
    assert.equal(connection.remotePeer.toString(), hidden.peerId.toString())
    assert.equal(connection.limits, undefined, 'a relay of ours limits nothing')
  })

  for (const network of [{ maxPeersPerAddress: 2 }, { maxPeers: 2 }]) {
    it(`takes two connections with ${JSON.stringify(network)}, and another when one has gone`, async () => {
      const server = await start(network)
      const [first, second, third] = [await start(), await start(), await start()]
      await first.dial(server.getMultiaddrs(), { signal: signal() })
      await second.dial(server.getMultiaddrs(), { signal: signal() })
      await assert.rejects(third.dial(server.getMultiaddrs(), { signal: signal() }))
      const gone = new Promise((resolve) =>
        server.addEventListener('connection:close', resolve, { once: true })
      )
      await first.stop()
      await gone
      await third.dial(server.getMultiaddrs(), { signal: signal() })
    })
  }
})
