import assert from 'node:assert/strict'
import { createServer, type Server } from 'node:https'
import { type AddressInfo, isIP, type Socket } from 'node:net'
import { getCACertificates, setDefaultCACertificates } from 'node:tls'
import type { CID } from 'multiformats/cid'
import { AUTHORITY, CERTIFICATE, KEY } from '../support/certificate.ts'
import { type TestGateway, testGateway } from '../support/ipfs-gateway.ts'
import {
  addFile,
  content,
  forever,
  readAll,
  startNode,
  stopNodes,
  WatchedBlockstore
} from '../support/ipfs-nodes.ts'

describe('ipfs: a gateway with TLS', () => {
  const bytes = content(5_000_000)
  const trusted = getCACertificates('default')
  const sockets = new Set<Socket>()
  let gateway: TestGateway
  let server: Server
  let file: CID

  beforeEach(async () => {
    const store = new WatchedBlockstore()
    file = await addFile(store, bytes)
    gateway = testGateway(store)
    server = createServer({ key: KEY, cert: CERTIFICATE }, gateway.handler)
    server.on('connection', (socket: Socket) => {
      sockets.add(socket)
      socket.on('close', () => sockets.delete(socket))
    })
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  })
  afterEach(async () => {
    setDefaultCACertificates(trusted)
    await stopNodes()
    server.close()
    for (const socket of sockets) socket.destroy()
  })

  async function pull(
    host: string
  ): Promise<{ read: () => Promise<Buffer>; stat: () => Promise<{ size: number }> }> {
    const node = await startNode()
    const kind = isIP(host) === 0 ? 'dns4' : 'ip4'
    const address = `/${kind}/${host}/tcp/${(server.address() as AddressInfo).port}/https`
    const peers = await node.ipfs.connect([address], { signal: forever() })
    return {
      read: () => readAll(node.ipfs.leaves(file, { peers, signal: forever() })),
      stat: () => node.ipfs.stat(file, { peers, signal: forever() })
    }
  }

  for (const host of ['127.0.0.1', 'localhost']) {
    it(`gives files at ${host} where its authority is trusted`, async () => {
      setDefaultCACertificates([...trusted, AUTHORITY])
      const { read, stat } = await pull(host)
      assert.deepEqual(await read(), Buffer.from(bytes))
      assert.deepEqual(
        gateway.requests.map((path) => /dag-scope=(\w+)/.exec(path)?.[1]),
        ['entity']
      )
      assert.deepEqual(await stat(), { size: bytes.length })
    })
  }

  it('goes on after a slow reader held it back', async () => {
    setDefaultCACertificates([...trusted, AUTHORITY])
    const node = await startNode()
    const port = (server.address() as AddressInfo).port
    const peers = await node.ipfs.connect([`/ip4/127.0.0.1/tcp/${port}/https`], { signal: forever() })
    const parts: Uint8Array[] = []
    for await (const leaf of node.ipfs.leaves(file, { peers, signal: forever() })) {
      await new Promise((resolve) => setTimeout(resolve, 50))
      parts.push(Uint8Array.from(leaf.data))
      leaf.release()
    }
    assert.deepEqual(Buffer.concat(parts), Buffer.from(bytes))
  })

  it('is not asked for anything where its authority is unknown', async () => {
    const { read, stat } = await pull('127.0.0.1')
    await assert.rejects(stat(), /certificate that isn't trusted .*NODE_EXTRA_CA_CERTS/)
    await assert.rejects(read())
    assert.deepEqual(gateway.requests, [])
  })
})
