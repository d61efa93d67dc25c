/** What clients see of a gateway that wants signatures; they were made by cosign and notation themselves. */
import assert from 'node:assert/strict'
import { renameSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  descriptor,
  EMPTY,
  manifest,
  OCI_CONFIG,
  OCI_INDEX,
  OCI_MANIFEST,
  type OciClient,
  ociClient
} from '../support/oci-client.ts'
import {
  type RegistryServer,
  type RegistryServerOptions,
  startRegistryServer
} from '../support/registry-server.ts'
import {
  digestOfImage,
  openTestSignatures,
  partsOfIndex,
  pushRecorded,
  type SignedImage,
  signers,
  writePolicy
} from '../support/signed-images.ts'
import { tempFolder } from '../support/temp.ts'

const POLICY = `rules:
  - {repositories: ["c/**", "ipfs/**"], cosign: ours.pub}
  - {repositories: "n/**", notation: {trust: ca.crt}}
  - {repositories: "both/**", cosign: ours.pub, notation: {trust: ca.crt}}
  - {repositories: "both/strict/**", notation: {trust: ca.crt}}
  - {repositories: ["p/**"], at: push, cosign: ours.pub}
`

describe('signatures over HTTP', () => {
  const temp = tempFolder()
  const servers: RegistryServer[] = []
  let server: RegistryServer
  let client: OciClient
  let policy: string

  async function start(options: RegistryServerOptions = {}): Promise<RegistryServer> {
    const started = await startRegistryServer(options)
    servers.push(started)
    return started
  }
  const policed = (path = policy) => ({
    signatures: (registry: RegistryServer['registry']) => openTestSignatures(registry, path)
  })

  before(async () => {
    policy = writePolicy(temp.path, POLICY)
    server = await start(policed())
    client = ociClient(server)
  })
  after(async () => {
    for (const each of servers) await each.stop()
    await temp.remove()
  })

  const get = (name: string, reference: string, method = 'GET') =>
    client.call(method, `/v2/${name}/manifests/${reference}`)
  const refused = async (name: string, reference: string, why: RegExp) => {
    for (const method of ['GET', 'HEAD']) assert.equal((await get(name, reference, method)).status, 403)
    const answer = await get(name, reference)
    assert.equal(answer.code, 'DENIED')
    assert.match(answer.json<{ errors: { message: string }[] }>().errors[0]?.message ?? '', why)
  }
  const pulls = async (name: string, reference: string) => {
    for (const method of ['GET', 'HEAD']) assert.equal((await get(name, reference, method)).status, 200)
  }

  for (const [name, image, why] of [
    ['c/unsigned', 'unsigned', /rule 1 of .* by cosign, and there is none; have it signed/],
    ['c/theirs', 'theirs', /none of those there are counts: it was made with another key/],
    ['c/attested', 'attested', /counts: it is an attestation/],
    ['c/jws', 'jws', /counts: it is one of notation, and cosign is asked for/],
    ['n/tagged', 'tagged', /counts: it is one of cosign, and notation is asked for/],
    ['n/cose', 'cose', /--signature-format jws/],
    ['both/strict/tagged', 'tagged', /rule 4/]
  ] as [string, SignedImage, RegExp][])
    it(`${name} is refused, by tag and by digest`, async () => {
      const digest = await pushRecorded(client, name, image)
      await refused(name, '1', why)
      await refused(name, digest, why)
    })

  for (const [name, image] of [
    ['c/tagged', 'tagged'],
    ['c/bundled', 'bundled'],
    ['n/jws', 'jws'],
    ['both/tagged', 'tagged'],
    ['both/jws', 'jws'],
    ['both/strict/jws', 'jws'],
    ['free', 'unsigned']
  ] as [string, SignedImage][])
    it(`${name} is pulled, by tag and by digest`, async () => {
      const digest = await pushRecorded(client, name, image)
      await pulls(name, '1')
      await pulls(name, digest)
    })

  it('a signature is found as soon as it is there', async () => {
    const digest = digestOfImage('tagged')
    await pushRecorded(client, 'c/late', 'tagged', { tags: (tag) => tag === '1' })
    await refused('c/late', digest, /there is none/)
    await pushRecorded(client, 'c/late', 'tagged')
    await pulls('c/late', digest)
  })

  it('the images of a signed index are pulled once it has been, and not by themselves', async () => {
    await pushRecorded(client, 'c/index', 'index')
    const [first = '', second = ''] = partsOfIndex()
    await refused('c/index', first, /if it is part of an index that is, pull that index first/)
    await pulls('c/index', '1')
    await pulls('c/index', first)
    await pulls('c/index', second)
  })

  it('an image of an index that is not signed is refused even after it was asked for', async () => {
    const part = await client.image('c/loose', 'part')
    const index = manifest({ manifests: [descriptor(part)] }, OCI_INDEX)
    await client.put('c/loose', index, '1')
    await refused('c/loose', '1', /there is none/)
    await refused('c/loose', part.digest, /there is none/)
  })

  it('signatures, attestations and lists of them are pulled; so are blobs', async () => {
    await pushRecorded(client, 'c/others', 'jws')
    for (const { digest } of (
      await client.expect(200, 'GET', `/v2/c/others/referrers/${digestOfImage('jws')}`)
    ).json<{
      manifests: { digest: string }[]
    }>().manifests)
      await pulls('c/others', digest)
    await pulls('c/others', digestOfImage('jws').replace(':', '-'))
    await pulls('c/tagged', `${digestOfImage('tagged').replace(':', '-')}.sig`)
    const { config } = (await get('both/jws', '1')).json<{ config: { digest: string } }>()
    await client.expect(200, 'GET', `/v2/c/others/blobs/${config.digest}`)
  })

  it('an image is none of those, whatever it is called or refers to', async () => {
    const signed = digestOfImage('tagged')
    await pushRecorded(client, 'c/posing', 'tagged')
    const subject = { mediaType: OCI_MANIFEST, digest: signed, size: 1 }
    const referring = await client.image('c/posing', 'referring', 'a', { subject })
    await refused('c/posing', referring.digest, /there is none/)
    await client.image('c/posing', `sha256-${'0'.repeat(64)}.sig`, 'b')
    await refused('c/posing', `sha256-${'0'.repeat(64)}.sig`, /there is none/)
    const config = await client.blob('c/posing', '{"architecture":"amd64","os":"linux"}', OCI_CONFIG)
    const layer = await client.blob('c/posing', 'a tar', 'application/vnd.dev.cosign.simplesigning.v1+json')
    const absent = {
      mediaType: 'application/vnd.docker.image.rootfs.foreign.diff.tar',
      digest: signed,
      size: 1
    }
    for (const layers of [[layer], [], [await client.blob('c/posing', '{"a":1}', layer.mediaType), absent]]) {
      const made = manifest({ config, layers })
      await client.put('c/posing', made)
      await refused('c/posing', made.digest, /there is none/)
    }
    for (const mediaType of ['application/octet-stream', 'application/json', 'text/html']) {
      const made = manifest({ config: { ...config, mediaType }, layers: [], subject })
      await client.put('c/posing', made)
      await refused('c/posing', made.digest, /there is none/)
    }
    const note = manifest({
      config: await client.blob('c/posing', '{}', EMPTY),
      layers: [],
      subject,
      artifactType: 'text/note'
    })
    await client.put('c/posing', note)
    await pulls('c/posing', note.digest)
  })

  it('at push, a tag is for what is signed; what has none yet is pushed by digest', async () => {
    const put = (name: string, image: SignedImage) => pushRecorded(client, name, image)
    await assert.rejects(
      put('p/app', 'unsigned'),
      /403 .*there is none; push it by its digest, sign p\/app@sha256/
    )
    await pulls('p/app', digestOfImage('unsigned'))
    await assert.rejects(put('p/app', 'theirs'), /403 .*another key/)
    for (const image of ['tagged', 'bundled', 'index'] as const) {
      // the images of an index have tags of their own, which they weren't signed for
      await pushRecorded(client, 'p/app', image, { tags: (tag) => !/^p\d$/.test(tag) })
      await pulls('p/app', '1')
    }
    const own = digestOfImage('unsigned').replace(':', '-')
    await pushRecorded(client, 'p/app', 'unsigned', { tags: () => false })
    const { body, headers } = await get('p/app', digestOfImage('unsigned'))
    const again = (path: string) =>
      client.call('PUT', `/v2/p/app/manifests/${path}`, {
        body,
        headers: { 'content-type': String(headers['content-type']) }
      })
    assert.equal((await again(`${digestOfImage('unsigned')}?tag=2`)).code, 'DENIED')
    assert.equal((await again(own)).status, 201)
  })

  it('what holds changes with the files', async () => {
    const folder = tempFolder()
    const path = writePolicy(folder.path, 'rules: [{repositories: "**", cosign: ours.pub}]')
    const other = ociClient(await start(policed(path)))
    const status = async () => (await other.call('GET', '/v2/app/manifests/1')).status
    await pushRecorded(other, 'app', 'theirs')
    assert.equal(await status(), 403)
    writeFileSync(join(folder.path, 'new.pub'), signers['theirs.pub'])
    renameSync(join(folder.path, 'new.pub'), join(folder.path, 'ours.pub'))
    assert.equal(await status(), 200)
    writeFileSync(join(folder.path, 'ours.pub'), signers['ours.pub'])
    assert.equal(await status(), 403)
    await folder.remove()
  })
})
