/** Signatures and SBOMs that go with their image, wherever it goes: `--referrers`, and CARs. */
import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { useBed } from './support/bed.ts'
import type { Client } from './support/client.ts'
import { oras as orasClient } from './support/clients.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { available } from './support/process.ts'
import { type Registry, startRegistry } from './support/registry.ts'

const SBOM = 'application/vnd.example.sbom'
const SIGNATURE = 'application/vnd.dev.cosign.artifact.sig.v1+json'
const SIGNING = 'application/vnd.dev.cosign.simplesigning.v1+json'

describe('what refers to an image', function () {
  this.timeout(60_000)
  const bed = useBed('referrers')
  let oras: Client
  let image: Image
  let gateway: SeawayGateway
  let other: SeawayGateway
  let registry: Registry
  /** The tag under which cosign keeps a signature. */
  let tag: string
  /** Digests by what they are: of what is attached, and of what has that tag. */
  let attached: Record<string, string>

  const run = async (...args: string[]) => (await oras.run(args, { cwd: bed.folder('files') })).stdout.trim()
  /** What oras finds: its types and digests. */
  async function discover(name: string, ...more: string[]): Promise<Record<string, string>> {
    const plain = more.length > 0 ? more : ['--plain-http']
    const found = JSON.parse(await run('discover', ...plain, '--format', 'json', name)) as Record<
      'manifests' | 'referrers',
      { artifactType: string; digest: string; referrers?: { artifactType: string; digest: string }[] }[]
    >
    const first = found.referrers ?? found.manifests ?? []
    const below = first.flatMap(({ referrers = [] }) => referrers)
    return Object.fromEntries([...first, ...below].map((each) => [each.artifactType, each.digest]))
  }
  const digestOf = (name: string, ...more: string[]) =>
    run('resolve', ...(more.length > 0 ? more : ['--plain-http']), name)
  const attach = (type: string, to: string, ...more: string[]) =>
    run('attach', '--plain-http', '--no-tty', '--artifact-type', type, ...more, to, `sbom.json:${type}`)
  const copy = (from: string, to: string, ...more: string[]) => gateway.seaway(['copy', from, to, ...more])

  /** All of it is there, with its digests. */
  async function assertAll(name: string, ...more: string[]) {
    assert.equal(await digestOf(`${name}:1`, ...more), image.top.digest)
    assert.deepEqual(await discover(`${name}:1`, ...more), {
      [SBOM]: attached[SBOM],
      [SIGNATURE]: attached[SIGNATURE]
    })
    assert.equal(await digestOf(`${name}:${tag}`, ...more), attached[tag])
  }
  async function assertAlone(name: string, ...more: string[]) {
    assert.equal(await digestOf(`${name}:1`, ...more), image.top.digest)
    assert.deepEqual(await discover(`${name}:1`, ...more), {})
    await assert.rejects(digestOf(`${name}:${tag}`, ...more), /not found/)
  }

  before(async function () {
    if (!available('docker-registry', 'oras')) this.skip()
    oras = await orasClient({ dir: bed.folder('oras') })
    await mkdir(bed.folder('files'), { recursive: true })
    await writeFile(join(bed.folder('files'), 'sbom.json'), '{"packages":[]}')
    await writeFile(join(bed.folder('files'), 'payload.json'), '{"critical":{}}')
    image = await makeImage({ dir: bed.folder('image'), name: 'app:1', layers: [{ files: { a: 'b' } }] })
    gateway = await bed.gateway('a')
    other = await bed.gateway('b')
    // it knows no referrers: clients keep a tag for them
    registry = bed.keep(await startRegistry({ dir: bed.folder('registry') }))
    const name = `${gateway.host}/example.com/app`
    await copy(`oci:${image.layout}`, 'example.com/app:1')
    await attach(SBOM, `${name}:1`)
    await attach(SIGNATURE, `${name}:1`, '--annotation', 'dev.cosignproject.cosign/signature=c2ln')
    tag = `${image.top.digest.replace(':', '-')}.sig`
    await run('push', '--plain-http', '--no-tty', `${name}:${tag}`, `payload.json:${SIGNING}`)
    attached = { ...(await discover(`${name}:1`)), [tag]: await digestOf(`${name}:${tag}`) }
    assert.deepEqual(Object.keys(attached).sort(), [SBOM, SIGNATURE, tag].sort())
  })

  it('goes from registry to registry, also where one keeps no list of it, and only with --referrers', async () => {
    const there = `${registry.host}/team/app`
    await copy('example.com/app:1', `${there}:1`)
    await assertAlone(there)
    await copy('example.com/app:1', `${there}:1`, '--referrers')
    await assertAll(there)
    // another time nothing changes
    const listed = await digestOf(`${there}:${image.top.digest.replace(':', '-')}`)
    await copy('example.com/app:1', `${there}:1`, '--referrers')
    assert.equal(await digestOf(`${there}:${image.top.digest.replace(':', '-')}`), listed)

    await copy(`${there}:1`, 'alone.example/app:1')
    await assertAlone(`${gateway.host}/alone.example/app`)
    await copy(`${there}:1`, 'back.example/app:1', '--referrers')
    await assertAll(`${gateway.host}/back.example/app`)
    await copy('example.com/app:1', `${other.url}/example.com/app:1`, '--referrers')
    await assertAll(`${other.host}/example.com/app`)
  })

  it('goes into a layout, and out of it into another registry', async () => {
    const [alone, all] = [bed.folder('alone'), bed.folder('all')]
    await copy('example.com/app:1', `oci:${alone}:1`)
    await assertAlone(alone, '--oci-layout')
    await copy('example.com/app:1', `oci:${all}:1`, '--referrers')
    await assertAll(all, '--oci-layout')
    await copy(`oci:${all}:1`, `${registry.host}/layout/app:1`, '--referrers')
    await assertAll(`${registry.host}/layout/app`)
    await copy(`oci:${all}:1`, `${registry.host}/layout/alone:1`)
    await assertAlone(`${registry.host}/layout/alone`)
  })

  it('is in the CAR of its repository', async () => {
    const car = join(bed.folder('files'), 'app.car')
    await gateway.seaway(['export', 'example.com/app', car])
    await other.seaway(['import', car, '--to', 'car.example'])
    await assertAll(`${other.host}/car.example/app`)
    await gateway.seaway([
      'copy',
      `car:${car}:example.com/app:1`,
      `${registry.host}/car/app:1`,
      '--referrers'
    ])
    await assertAll(`${registry.host}/car/app`)
  })
})
