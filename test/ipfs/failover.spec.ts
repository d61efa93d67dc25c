import assert from 'node:assert/strict'
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'
import { CID } from 'multiformats/cid'
import { RegistryError } from '../../src/oci/errors.ts'
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

describe('ipfs: peers that fail', () => {
  const children: ChildProcess[] = []

  afterEach(async () => {
    for (const child of children.splice(0)) {
      if (child.exitCode !== null || child.signalCode !== null) continue
      child.kill('SIGKILL')
      await once(child, 'exit')
    }
    await stopNodes()
  })

  async function peerProcess(size: number, seed: string) {
    const script = fileURLToPath(new URL('../support/ipfs-peer.ts', import.meta.url))
    const child = spawn(process.execPath, [script, String(size), seed], {
      stdio: ['ignore', 'pipe', 'inherit']
    })
    children.push(child)
    const [line] = (await once(createInterface(child.stdout), 'line')) as [string]
    const { addresses, root } = JSON.parse(line) as { addresses: string[]; root: string }
    return { child, addresses, root: CID.parse(root) }
  }

  /** A client that is connected to both, the first of which is asked first. */
  async function trio(timeouts = HASTY) {
    const [bad, good] = await Promise.all([startNode(), startNode()])
    const client = await startNode({ listen: [], timeouts })
    const first = await client.ipfs.connect(bad.ipfs.addresses(), { signal: forever() })
    const second = await client.ipfs.connect(good.ipfs.addresses(), { signal: forever() })
    return { bad, good, client, first, both: [...first, ...second] }
  }

  async function sameFile(nodes: TestNode[], bytes: Uint8Array): Promise<CID> {
    const [root] = await Promise.all(nodes.map(({ store }) => addFile(store, bytes)))
    assert.ok(root)
    return root
  }

  /** What a peer does from its third leaf on. */
  const misdeeds = {
    'sends a wrong block': {
      does: async () => content(1000),
      says: /nobody had asked for/,
      code: 'SOURCE_FAILED',
      timeouts: PATIENT
    },
    'falls silent': {
      does: () => new Promise<never>(() => {}),
      says: /sent nothing for 400 ms/,
      code: 'SOURCE_TIMEOUT',
      timeouts: HASTY
    }
  } as const

  for (const [what, { does, says, code, timeouts }] of Object.entries(misdeeds)) {
    function misbehave({ store }: TestNode): void {
      let served = 0
      store.serving = async () => (++served > 3 ? does() : undefined)
    }

    it(`a peer that ${what} in mid-file gives way to the next one`, async () => {
      const { bad, good, client, both } = await trio({ ...PATIENT, blockMs: 2000 })
      const bytes = content(6 * MiB)
      const root = await sameFile([bad, good], bytes)
      misbehave(bad)
      assert.deepEqual(await readAll(client.ipfs.leaves(root, { peers: both, signal: forever() })), bytes)
      assert.ok(bad.store.reads.length > 1, 'the first peer was never asked')
      assert.ok(good.store.reads.length > 1)
    })

    it(`a peer that ${what} in mid-file and is the only one ends it with ${code}, by name`, async () => {
      const [only, client] = await Promise.all([startNode(), startNode({ listen: [], timeouts })])
      const peers = await client.ipfs.connect(only.ipfs.addresses(), { signal: forever() })
      const root = await sameFile([only], content(6 * MiB))
      misbehave(only)
      await assert.rejects(readAll(client.ipfs.leaves(root, { peers, signal: forever() })), (error) => {
        assert.ok(error instanceof RegistryError)
        assert.equal(error.code, code)
        assert.match(error.message, says)
        assert.ok(error.message.includes(only.ipfs.peerId))
        return true
      })
    })
  }

  it('a peer that says nothing costs its time once, and not with every block', async () => {
    const { bad, good, client, both } = await trio(PATIENT)
    // more than a message may hold, so nothing leaves
    bad.store.serving = async () => Buffer.alloc(5 * MiB)
    for (let i = 0; i < 6; i++) {
      const root = await sameFile([bad, good], content(1000 + i))
      await client.ipfs.block(root, { peers: both, signal: forever() })
    }
    assert.equal(bad.store.reads.length, 1)
    const health = client.ipfs.health().find(({ source }) => source === bad.ipfs.peerId)
    assert.equal(health?.lastSeen ?? 0, 0, 'what another one sent is not to its credit')
  })

  it('a peer without the block says so, and the next one is asked', async () => {
    const { good, client, both, first } = await trio(PATIENT)
    const bytes = content(2 * MiB)
    const root = await sameFile([good], bytes)
    assert.deepEqual(await readAll(client.ipfs.leaves(root, { peers: both, signal: forever() })), bytes)
    const nowhere = await addFile((await startNode()).store, content(10))
    await assert.rejects(client.ipfs.block(nowhere, { peers: first, signal: forever() }), {
      code: 'SOURCE_FAILED',
      message: /does not have the block.*does not have the block/
    })
  })

  it('without any peer it fails at once', async () => {
    const { ipfs } = await startNode()
    const nowhere = await addFile((await startNode()).store, content(10))
    await assert.rejects(ipfs.block(nowhere, { peers: [], signal: forever() }), { code: 'SOURCE_FAILED' })
  })

  it('a peer killed in mid-file gives way to the next one', async () => {
    const [doomed, heir] = await Promise.all([peerProcess(24 * MiB, 'abc'), peerProcess(24 * MiB, 'abc')])
    const client = await startNode({ listen: [] })
    const peers = await client.ipfs.connect(doomed.addresses, { signal: forever() })
    peers.push(...(await client.ipfs.connect(heir.addresses, { signal: forever() })))
    let size = 0
    for await (const { data } of client.ipfs.leaves(doomed.root, { peers, signal: forever() })) {
      if (size === 0) doomed.child.kill('SIGKILL')
      size += data.length
    }
    assert.equal(size, 24 * MiB)
  })

  it('a peer killed in mid-file that is the only one ends it, by name', async () => {
    const doomed = await peerProcess(40 * MiB, '')
    const client = await startNode({ listen: [] })
    const peers = await client.ipfs.connect(doomed.addresses, { signal: forever() })
    const reading = (async () => {
      for await (const _ of client.ipfs.leaves(doomed.root, { peers, signal: forever() }))
        doomed.child.kill('SIGKILL')
    })()
    await assert.rejects(reading, (error) => {
      assert.ok(error instanceof RegistryError)
      assert.equal(error.code, 'SOURCE_FAILED')
      assert.ok(error.message.includes(String(peers[0])))
      return true
    })
  })

  it('blocks that a peer sends unasked are not kept', async () => {
    const { bad, client, first } = await trio()
    const root = await sameFile([bad], content(1000))
    bad.store.serving = async () => content(500)
    await assert.rejects(client.ipfs.block(root, { peers: first, signal: forever() }))
    assert.deepEqual(client.store.puts, [])
  })

  it('an abort ends the wait with its reason', async () => {
    const { bad, client, first } = await trio(PATIENT)
    const root = await sameFile([bad], content(6 * MiB))
    const giveUp = new AbortController()
    bad.store.serving = () => {
      giveUp.abort(new Error('enough'))
      return new Promise(() => {})
    }
    await assert.rejects(readAll(client.ipfs.leaves(root, { peers: first, signal: giveUp.signal })), /enough/)
    await assert.rejects(
      client.ipfs.block(root, { peers: first, signal: AbortSignal.abort(new Error('before')) }),
      /before/
    )
  })
})
