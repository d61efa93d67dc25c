import assert from 'node:assert/strict'
import { type AddressInfo, connect, createServer, type Server, type Socket } from 'node:net'
import { multiaddr } from '@multiformats/multiaddr'
import { addFile, content, forever, readAll, startNode, stopNodes } from '../support/ipfs-nodes.ts'

describe('ipfs: peers that are still being dialled', () => {
  const relays: Server[] = []
  const sockets = new Set<Socket>()

  afterEach(async () => {
    await stopNodes()
    // A relay that hasn't read from its client is not told that the client has gone.
    for (const socket of sockets) socket.destroy()
    for (const relay of relays.splice(0)) relay.close()
  })

  /** The same peer at another address, behind which the first bytes take their time. */
  async function slowly(address: string, ms: number): Promise<string> {
    const port = Number(
      multiaddr(address)
        .getComponents()
        .find(({ name }) => name === 'tcp')?.value
    )
    const relay = createServer((client) => {
      sockets.add(client)
      client.on('error', () => {})
      const later = setTimeout(() => {
        const server = connect({ port, host: '127.0.0.1' })
        server.on('error', () => {})
        client.pipe(server).pipe(client)
      }, ms)
      client.on('close', () => {
        clearTimeout(later)
        sockets.delete(client)
      })
    })
    relays.push(relay)
    await new Promise<void>((resolve) => relay.listen(0, '127.0.0.1', resolve))
    return address.replace(`/tcp/${port}/`, `/tcp/${(relay.address() as AddressInfo).port}/`)
  }

  it('are asked for what those who are connected lack', async () => {
    const [near, far] = await Promise.all([startNode(), startNode()])
    const client = await startNode({ listen: [] })
    const bytes = content(3 * 1024 * 1024)
    const root = await addFile(far.store, bytes)
    const [nearAt = '', farAt = ''] = [near.ipfs.addresses()[0], far.ipfs.addresses()[0]]
    const addresses = [nearAt, await slowly(farAt, 300), '/ip4/127.0.0.1/tcp/1']
    const peers = await client.ipfs.connect(addresses, { signal: forever() })
    assert.deepEqual(peers.map(String), [near.ipfs.peerId])
    assert.deepEqual(await readAll(client.ipfs.leaves(root, { peers, signal: forever() })), bytes)
  })

  it('are not waited for longer than the caller does', async () => {
    const [near, far] = await Promise.all([startNode(), startNode()])
    const client = await startNode({ listen: [] })
    const nowhere = await addFile((await startNode()).store, content(10))
    const farAt = await slowly(far.ipfs.addresses()[0] ?? '', 60_000)
    const peers = await client.ipfs.connect([...near.ipfs.addresses(), farAt], { signal: forever() })
    const asked = client.ipfs.block(nowhere, { peers, signal: AbortSignal.timeout(300) })
    await assert.rejects(asked, { name: 'TimeoutError' })
  })
})
