/** `seaway copy` out of what somebody else publishes: the gateway finds it, fetches it, and has none of it before. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { makeRecord, nameOfKey } from '../../src/discovery/index.ts'
import { type Image, makeImage } from '../e2e/support/images.ts'
import { type CopyReport, makeTargets, TARGET_KINDS } from '../support/copy-places.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'
import { runCommandHere } from '../support/seaway-command.ts'
import { tempFolder } from '../support/temp.ts'

const SOURCE_KINDS = [
  "somebody's domain",
  "a digest in somebody's domain",
  'a name in IPNS',
  'a root CID'
] as const

describe("copy from somebody else's", function () {
  this.timeout(30_000)
  const temp = tempFolder()
  const file = (name: string) => join(temp.path, name)
  const running: RegistryServer[] = []
  let image: Image
  let theirs: RegistryServer
  let registry: RegistryServer
  let sources: Record<(typeof SOURCE_KINDS)[number], string>

  before(async () => {
    const layers = ['one', 'two'].map((text) => ({ files: { [text]: text.repeat(30_000) } }))
    image = await makeImage({ dir: file('made'), name: 'app:1', layers })
    theirs = await startRegistryServer({ seed: 'published', ipns: true })
    registry = await startRegistryServer()
    running.push(theirs, registry)
    await copy(theirs, `oci:${image.layout}`, 'ships.example/app:1')
    const root = await theirs.publish('ships.example')
    const key = await generateKeyPair('Ed25519')
    const name = nameOfKey(key).text
    const record = await makeRecord(key, {
      value: `/ipfs/${root}`,
      sequence: 1n,
      lifetimeMs: 600_000,
      ttlMs: 60_000,
      providers: [],
      now: Date.now()
    })
    const put = await fetch(`http://${theirs.host}/routing/v1/ipns/${name}`, {
      method: 'PUT',
      body: Buffer.from(record),
      headers: { 'content-type': 'application/vnd.ipfs.ipns-record' }
    })
    assert.equal(put.status, 200, await put.text())
    sources = {
      "somebody's domain": 'ships.example/app:1',
      "a digest in somebody's domain": `ships.example/app@${image.top.digest}`,
      'a name in IPNS': `ipns/${name}/app:1`,
      'a root CID': `/ipfs/${root}/app:1`
    }
  })
  afterEach(() => (running.length > 2 ? running.pop()?.stop() : undefined))
  after(async () => {
    for (const each of running.toReversed()) await each.stop()
    await temp.remove()
  })

  async function copy(gateway: RegistryServer, from: string, to: string): Promise<CopyReport> {
    const settings = { SEAWAY_DATA: file('data'), DOCKER_CONFIG: file('docker') }
    const args = ['copy', from, to, '--gateway', `http://${gateway.host}`, '--json']
    const { status, stdout, stderr } = await runCommandHere(args, settings)
    assert.equal(status, 0, `${args.join(' ')}: ${stderr}`)
    return JSON.parse(stdout) as CopyReport
  }

  for (const [at, from] of SOURCE_KINDS.entries())
    for (const [to, into] of TARGET_KINDS.entries())
      it(`${from}, into ${into}, and again without moving anything`, async () => {
        const gateway = await startRegistryServer({ dns: theirs.dns, peers: theirs.addresses(), ipns: true })
        running.push(gateway)
        const target = makeTargets(gateway, registry, file)[into]
        const name = `from${at}to${to}`
        const first = await copy(gateway, sources[from], target.place(name))
        assert.deepEqual(await target.look(name), {
          digest: target.manifest ? image.top.digest : undefined,
          id: image.configs[0]?.digest,
          diffIds: image.diffIds
        })
        assert.deepEqual(
          first.images.map(({ digest }) => digest),
          [image.top.digest]
        )
        const again = await copy(gateway, sources[from], target.place(name))
        assert.deepEqual(again.images, first.images)
        if (target.whole !== true) assert.equal(again.moved.blobs, 0)
      })
})
