/** Layers that go from registry to registry side by side: how many requests are under way, and no times. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { PARALLEL } from '../../src/move/shared.ts'
import { type Image, makeImage } from '../e2e/support/images.ts'
import { type GatedServer, startGatedServer } from '../support/gated-server.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'
import { runCommandHere } from '../support/seaway-command.ts'
import { tempFolder } from '../support/temp.ts'

const LAYERS = 10

describe('layers of an image', function () {
  this.timeout(30_000)
  const temp = tempFolder()
  const file = (name: string) => join(temp.path, name)
  let servers: RegistryServer[]
  let gates: GatedServer[]
  let image: Image

  before(async () => {
    servers = [await startRegistryServer(), await startRegistryServer()]
    gates = []
    for (const server of servers) gates.push(await startGatedServer(server))
    const layers = Array.from({ length: LAYERS }, (_, i) => ({ files: { own: `layer ${i}` } }))
    image = await makeImage({ dir: file('image'), name: 'app:1', layers })
  })
  after(async () => {
    for (const gate of gates) await gate.stop()
    for (const server of servers) await server.stop()
    await temp.remove()
  })

  const seaway = async (...args: string[]) => {
    const { status, stdout, stderr } = await runCommandHere([...args, '--json'], {
      SEAWAY_DATA: file('data')
    })
    assert.equal(status, 0, stderr)
    return JSON.parse(stdout) as { moved: { blobs: number } }
  }
  const gateOf = (at: number): GatedServer => gates[at] ?? assert.fail(`there are ${gates.length}`)
  /** Sends of blobs, and reads of them. */
  const sends = { kind: ({ method = '' }: { method?: string }) => method === 'PATCH', until: PARALLEL }
  const reads = {
    kind: ({ method = '', url = '' }: { method?: string; url?: string }) =>
      method === 'GET' && url.includes('/blobs/'),
    until: PARALLEL
  }

  it(`are pushed ${PARALLEL} at a time, and no more`, async () => {
    const [to] = [gateOf(0)]
    to.close(sends)
    const { moved } = await seaway(
      'push',
      `oci:${image.layout}`,
      '--name',
      'app:1',
      '--gateway',
      `http://${to.host}`
    )
    assert.equal(moved.blobs, LAYERS + 1)
    assert.equal(to.most, PARALLEL)
  })

  it(`are pulled ${PARALLEL} at a time, and no more`, async () => {
    const from = gateOf(0)
    from.close(reads)
    const into = `oci:${file('pulled')}`
    const { moved } = await seaway('pull', 'app:1', '--into', into, '--gateway', `http://${from.host}`)
    assert.equal(moved.blobs, LAYERS + 1)
    assert.equal(from.most, PARALLEL)
  })

  it(`go from one registry into another ${PARALLEL} at a time, and no more`, async () => {
    const [from, to] = [gateOf(0), gateOf(1)]
    from.close(reads)
    to.close(sends)
    const { moved } = await seaway('copy', `${from.host}/app:1`, `${to.host}/app:1`)
    assert.equal(moved.blobs, LAYERS + 1)
    assert.deepEqual([from.most, to.most], [PARALLEL, PARALLEL])
  })
})
