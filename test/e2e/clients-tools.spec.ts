/** The clients that work on OCI layouts, and what only they can do: delete, attach, discover. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Client, crane, oras, regctl, skopeo } from './support/clients.ts'
import { type SeawayGateway, startGateway } from './support/gateway.ts'
import { type MatrixImages, matrixImages, roundTrips } from './support/matrix.ts'
import { available, tempDir } from './support/process.ts'
import { repository } from './support/wire.ts'

describe('clients: skopeo, crane, oras, regctl', function () {
  this.timeout(120_000)
  const temp = tempDir('tools')
  let gateway: SeawayGateway
  let images: MatrixImages

  before(async () => {
    gateway = await startGateway({ dir: join(temp.path, 'gateway'), env: { SEAWAY_LOG_LEVEL: 'info' } })
    images = await matrixImages(temp.path)
  })
  after(async () => {
    await gateway?.stop()
    await temp.remove()
  })

  for (const make of [skopeo, crane, oras, regctl]) {
    it(`${make.name} pushes, pulls and pushes again, for one platform and for two`, async function () {
      const client = await make({ dir: join(temp.path, make.name) })
      if (!available(...client.needs)) this.skip()
      await roundTrips(gateway, client, images)
    })
  }

  /** Deletes by `args`, after which `gone` are gone and the others are there. */
  async function deletes(
    client: Client,
    name: string,
    args: (reference: string) => string[],
    by: 'tag' | 'digest'
  ) {
    const at = (reference: string) => `${gateway.host}/${name}${reference}`
    await client.push(images.base, at(':gone'))
    const wire = repository(gateway.url, name)
    const [digest = ''] = await wire.readImage('gone')
    await client.push(images.multi, at(':stays'))
    await client.run(args(by === 'tag' ? at(':gone') : at(`@${digest}`)))
    assert.equal((await wire.getManifest('gone')).status, 404)
    assert.equal((await wire.getManifest(digest)).status, by === 'tag' ? 200 : 404)
    await wire.readImage('stays')
  }

  it('skopeo deletes an image', async function () {
    const client = await skopeo({ dir: join(temp.path, 'skopeo-delete') })
    if (!available(...client.needs)) this.skip()
    // skopeo asks for the digest behind a tag, and deletes that.
    const name = 'example.com/deletes/skopeo'
    await client.push(images.base, `${gateway.host}/${name}:gone`)
    const wire = repository(gateway.url, name)
    const [digest = ''] = await wire.readImage('gone')
    await client.run(['delete', '--tls-verify=false', `docker://${gateway.host}/${name}:gone`])
    for (const reference of ['gone', digest]) assert.equal((await wire.getManifest(reference)).status, 404)
  })

  it('crane deletes by digest, and lists', async function () {
    const client = await crane({ dir: join(temp.path, 'crane-delete') })
    if (!available(...client.needs)) this.skip()
    await deletes(client, 'example.com/deletes/crane', (reference) => ['delete', reference], 'digest')
    const { stdout } = await client.run(['ls', `${gateway.host}/example.com/deletes/crane`])
    assert.equal(stdout.trim(), 'stays')
    const { stdout: catalogue } = await client.run(['catalog', gateway.host])
    assert.ok(catalogue.split('\n').includes('example.com/deletes/crane'))
  })

  it('crane copies from repository to repository without an upload', async function () {
    const client = await crane({ dir: join(temp.path, 'crane-copy') })
    if (!available(...client.needs)) this.skip()
    const [from, to] = ['from', 'to'].map((name) => `${gateway.host}/example.com/copy/${name}:1`)
    await client.push(images.multi, from ?? '')
    await client.run(['copy', from ?? '', to ?? ''])
    assert.equal(
      (await repository(gateway.url, 'example.com/copy/to').readImage('1'))[0],
      images.multi.top.digest
    )
  })

  it('regctl deletes a tag alone, and lists', async function () {
    const client = await regctl({ dir: join(temp.path, 'regctl-delete') })
    if (!available(...client.needs)) this.skip()
    const plain = ['--host', `reg=${gateway.host},tls=disabled`]
    await deletes(
      client,
      'example.com/deletes/regctl',
      (reference) => [...plain, 'tag', 'rm', reference],
      'tag'
    )
    const name = `${gateway.host}/example.com/deletes/regctl`
    assert.equal((await client.run([...plain, 'tag', 'ls', name])).stdout.trim(), 'stays')
  })

  describe('oras', () => {
    let client: Client
    const name = 'example.com/oras/app'

    before(async function () {
      client = await oras({ dir: join(temp.path, 'oras-attach') })
      if (!available(...client.needs)) this.skip()
      await client.push(images.base, `${gateway.host}/${name}:1`)
      await writeFile(join(temp.path, 'sbom.json'), '{"packages":[]}')
      await writeFile(join(temp.path, 'payload.json'), '{"critical":{}}')
    })

    const run = (args: string[]) => client.run(args, { cwd: temp.path })
    const discover = async (...args: string[]) => {
      const { stdout } = await run([
        'discover',
        '--plain-http',
        '--format',
        'json',
        ...args,
        `${gateway.host}/${name}:1`
      ])
      const json = JSON.parse(stdout) as Record<
        'manifests' | 'referrers',
        { artifactType: string; digest: string }[]
      >
      return json.referrers ?? json.manifests ?? []
    }

    it('pushes and pulls an artifact', async () => {
      await run([
        'push',
        '--plain-http',
        '--no-tty',
        `${gateway.host}/example.com/oras/file:1`,
        'sbom.json:application/json'
      ])
      await run([
        'pull',
        '--plain-http',
        '--no-tty',
        '-o',
        'pulled',
        `${gateway.host}/example.com/oras/file:1`
      ])
    })

    it('attaches by subject, and discovers, filtered too', async () => {
      const attach = ['attach', '--plain-http', '--no-tty', '--artifact-type', 'application/vnd.example.sbom']
      await run([...attach, `${gateway.host}/${name}:1`, 'sbom.json:application/json'])
      assert.deepEqual(
        (await discover()).map(({ artifactType }) => artifactType),
        ['application/vnd.example.sbom']
      )
      assert.deepEqual(await discover('--artifact-type', 'none/such'), [])
    })

    it('attaches a signature as cosign keeps it: a referrer with a simple-signing layer', async () => {
      const type = 'application/vnd.dev.cosign.artifact.sig.v1+json'
      const signature = createHash('sha256').update('signed').digest('base64')
      const annotation = `dev.cosignproject.cosign/signature=${signature}`
      const attach = [
        'attach',
        '--plain-http',
        '--no-tty',
        '--artifact-type',
        type,
        '--annotation',
        annotation
      ]
      const layer = 'payload.json:application/vnd.dev.cosign.simplesigning.v1+json'
      await run([...attach, `${gateway.host}/${name}:1`, layer])
      const [found] = await discover('--artifact-type', type)
      assert.ok(found)
      await repository(gateway.url, name).readImage(found.digest)
      // And as its older versions do: under a tag that is made of the digest.
      const tag = `${images.base.top.digest.replace(':', '-')}.sig`
      await run(['push', '--plain-http', '--no-tty', `${gateway.host}/${name}:${tag}`, 'payload.json'])
      await run(['pull', '--plain-http', '--no-tty', '-o', 'pulled', `${gateway.host}/${name}:${tag}`])
    })

    it('copies an image with what refers to it', async () => {
      const to = `${gateway.host}/example.com/oras/copied:1`
      await run([
        'cp',
        '--recursive',
        '--no-tty',
        '--from-plain-http',
        '--to-plain-http',
        `${gateway.host}/${name}:1`,
        to
      ])
      const { stdout } = await run(['discover', '--plain-http', '--format', 'json', to])
      assert.equal(stdout.match(/"artifactType"/g)?.length, 2)
    })

    it('deletes a manifest', async () => {
      const [sbom] = await discover('--artifact-type', 'application/vnd.example.sbom')
      const args = [
        'manifest',
        'delete',
        '--plain-http',
        '--force',
        `${gateway.host}/${name}@${sbom?.digest}`
      ]
      await run(args)
      assert.deepEqual(await discover('--artifact-type', 'application/vnd.example.sbom'), [])
    })
  })

  it('kaniko’s way: HEAD, POST, one PUT with a length for each blob', async () => {
    const name = 'example.com/kaniko/app'
    const base = `${gateway.url}/v2/${name}`
    const layer = Buffer.alloc(1_500_000, 'kaniko')
    const digestOf = (bytes: Uint8Array) => `sha256:${createHash('sha256').update(bytes).digest('hex')}`
    const config = Buffer.from(
      '{"architecture":"amd64","os":"linux","rootfs":{"type":"layers","diff_ids":[]}}'
    )
    for (let round = 0; round < 2; round++) {
      for (const bytes of [layer, config]) {
        const head = await fetch(`${base}/blobs/${digestOf(bytes)}`, { method: 'HEAD' })
        assert.equal(head.status, round === 0 ? 404 : 200)
        if (round === 1) continue
        const begun = await fetch(`${base}/blobs/uploads/`, { method: 'POST' })
        const location = new URL(begun.headers.get('location') ?? '', gateway.url)
        location.searchParams.set('digest', digestOf(bytes))
        const put = await fetch(location, { method: 'PUT', body: bytes })
        assert.equal(put.status, 201)
      }
      const type = 'application/vnd.docker.distribution.manifest.v2+json'
      const manifest = JSON.stringify({
        schemaVersion: 2,
        mediaType: type,
        config: {
          mediaType: 'application/vnd.docker.container.image.v1+json',
          size: config.length,
          digest: digestOf(config)
        },
        layers: [
          {
            mediaType: 'application/vnd.docker.image.rootfs.diff.tar',
            size: layer.length,
            digest: digestOf(layer)
          }
        ]
      })
      const put = await fetch(`${base}/manifests/1`, {
        method: 'PUT',
        body: manifest,
        headers: { 'content-type': type }
      })
      assert.equal(put.status, 201)
    }
    assert.equal((await repository(gateway.url, name).readImage('1')).length, 3)
  })
})
