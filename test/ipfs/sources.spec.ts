import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { RegistryError } from '../../src/oci/errors.ts'
import { useHttpServers } from '../support/http-servers.ts'
import { type TestGateway, testGateway } from '../support/ipfs-gateway.ts'
import {
  addFile,
  content,
  forever,
  HASTY,
  PATIENT,
  readAll,
  startNode,
  stopNodes,
  type TestNode
} from '../support/ipfs-nodes.ts'

const MiB = 1024 * 1024

describe('ipfs: several sources of one file', () => {
  const { listen } = useHttpServers()
  afterEach(stopNodes)

  /** A gateway over HTTP in front of a store, and its address. */
  async function gatewayOf({ store }: TestNode): Promise<{ gateway: TestGateway; address: string }> {
    const gateway = testGateway(store)
    return { gateway, address: await listen((request, answer) => gateway.handler(request, answer)) }
  }

  /** A client that is connected to nobody, and a node whose store has the file. */
  async function nodes(timeouts = PATIENT): Promise<{ client: TestNode; owner: TestNode }> {
    const [client, owner] = await Promise.all([
      startNode({ listen: [], timeouts }),
      startNode({ listen: [] })
    ])
    return { client, owner }
  }

  /** Answers nothing, or very little. */
  const idlers: [string, TestGateway['handler']][] = [
    ['accepts and says nothing', () => {}],
    [
      'sends a byte a second',
      (_, answer) => {
        answer.writeHead(200, { 'content-type': 'application/vnd.ipld.car' })
        const timer = setInterval(() => answer.write('x'), 1000)
        answer.once('close', () => clearInterval(timer))
      }
    ]
  ]
  for (const [what, handler] of idlers) {
    it(`one that ${what} is not waited for when there is another`, async () => {
      const { client, owner } = await nodes({ dialMs: 60_000, blockMs: 60_000, idleMs: 60_000 })
      const [bad, good] = await Promise.all([gatewayOf(owner), gatewayOf(owner)])
      bad.gateway.handler = handler
      const bytes = content(3 * MiB)
      const root = await addFile(owner.store, bytes)
      const gateways = [bad.address, good.address]
      const got = await readAll(client.ipfs.leaves(root, { peers: [], gateways, signal: forever() }))
      assert.deepEqual(got, bytes)
      const health = client.ipfs.health().find(({ source }) => source === bad.address)
      assert.equal(health?.failures, 1)

      // and the next file is asked of the other one first
      bad.gateway.handler = () => assert.fail('asked again')
      const next = await addFile(owner.store, content(MiB))
      await readAll(client.ipfs.leaves(next, { peers: [], gateways, signal: forever() }))
    })

    it(`one that ${what} and is the only one ends it at the deadline`, async () => {
      const { client, owner } = await nodes(HASTY)
      const only = await gatewayOf(owner)
      only.gateway.handler = handler
      const root = await addFile(owner.store, content(3 * MiB))
      const reading = readAll(
        client.ipfs.leaves(root, { peers: [], gateways: [only.address], signal: forever() })
      )
      await assert.rejects(reading, (error) => error instanceof RegistryError)
    })
  }

  it('several that are slow each bring a part of a large file', async () => {
    const { client, owner } = await nodes()
    const all = await Promise.all([gatewayOf(owner), gatewayOf(owner), gatewayOf(owner)])
    for (const { gateway } of all) {
      gateway.sending = async () => {
        await sleep(150)
        return undefined
      }
    }
    const bytes = content(48 * MiB)
    const root = await addFile(owner.store, bytes)
    const gateways = all.map(({ address }) => address)
    const got = await readAll(client.ipfs.leaves(root, { peers: [], gateways, signal: forever() }))
    assert.ok(got.equals(bytes))
    const sent = all.map(({ gateway }) => gateway.sent)
    // how many it takes depends on how busy this machine is: more than one in any case
    assert.ok(sent.filter((one) => one >= 6).length >= 2, `${sent} blocks were sent`)
    // the root comes with every request; leaves hardly ever twice
    const requests = all.reduce((sum, { gateway }) => sum + gateway.requests.length, 0)
    assert.ok(sent.reduce((a, b) => a + b) - requests < 48 + 16, `${sent} blocks in ${requests} requests`)
  })

  it('one that lies in mid-file is ended and remembered, and another goes on', async () => {
    const { client, owner } = await nodes()
    const [liar, good] = await Promise.all([gatewayOf(owner), gatewayOf(owner)])
    liar.gateway.sending = async (index) => (index === 3 ? content(MiB) : undefined)
    const bytes = content(12 * MiB)
    const root = await addFile(owner.store, bytes)
    const gateways = [liar.address, good.address]
    const got = await readAll(client.ipfs.leaves(root, { peers: [], gateways, signal: forever() }))
    assert.ok(got.equals(bytes))
    assert.equal(client.ipfs.health().find(({ source }) => source === liar.address)?.lies, 1)
    assert.equal(liar.gateway.requests.length, 1)
    assert.match(good.gateway.requests[0] ?? '', new RegExp(`entity-bytes=${2 * MiB}:`))
  })

  it('one that is gone is asked last, and still serves when it is back and nobody else does', async () => {
    const { client, owner } = await nodes()
    const only = await gatewayOf(owner)
    const { handler } = only.gateway
    only.gateway.handler = (request) => void request.socket.destroy()
    const root = await addFile(owner.store, content(2 * MiB))
    const options = { peers: [], gateways: [only.address], signal: forever() }
    await assert.rejects(readAll(client.ipfs.leaves(root, options)))
    only.gateway.handler = handler
    assert.equal((await readAll(client.ipfs.leaves(root, options))).length, 2 * MiB)
  })

  it('what is here already is not asked for, wherever in the file it lies', async () => {
    const { client, owner } = await nodes()
    const { gateway, address } = await gatewayOf(owner)
    const bytes = content(20 * MiB)
    const root = await addFile(owner.store, bytes)
    const here = [0, 1, 5, 6, 7, 12, 19]
    // the root is known by then: it says how large the file is
    await client.store.put(root, owner.store.peek(root))
    for (const leaf of here) await addFile(client.store, bytes.subarray(leaf * MiB, (leaf + 1) * MiB))
    const options = { peers: [], gateways: [address], signal: forever() }
    const got = await readAll(client.ipfs.leaves(root, options))
    assert.ok(got.equals(bytes))
    const ranges = gateway.requests.map((url) => /entity-bytes=(.*)/.exec(url)?.[1] ?? '0:*')
    for (const range of ranges.filter((one) => one !== '0:*')) {
      const from = Number(range.split(':')[0]) / MiB
      assert.ok(!here.includes(from), `asked for ${range}`)
    }
    // each answer begins with the root; a leaf or two may be on their way when an answer is no longer wanted
    assert.ok(gateway.sent - gateway.requests.length <= 13 + 2 * gateway.requests.length, `${gateway.sent}`)
  })
})
