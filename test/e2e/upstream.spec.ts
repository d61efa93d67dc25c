/** Debian's docker-registry behind the gateway: plain, with a password, and behind TLS with an authority of its own. */
import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { useBed } from './support/bed.ts'
import { crane, skopeo } from './support/clients.ts'
import { waitFor } from './support/daemon.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { available } from './support/process.ts'
import { type Registry, startRegistry } from './support/registry.ts'
import { startTlsRelay, type TlsRelay } from './support/tls-relay.ts'

describe('other registries through a gateway', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('upstream')
  const images: Record<string, Image> = {}
  let plain: Registry
  let locked: Registry
  let tls: TlsRelay
  let one: SeawayGateway

  const settings = () => ({
    SEAWAY_UPSTREAMS: [
      `plain.example=${plain.url}`,
      `locked.example=${locked.url} auth=${folder('login')}`,
      `tls.example=https://127.0.0.1:${tls.port} ca=${tls.ca}`,
      `docker.io=${plain.url}`
    ].join(','),
    SEAWAY_UPSTREAM_TTL: '0s',
    SEAWAY_UPSTREAM_TIMEOUT: '2s'
  })

  before(async function () {
    if (!available('docker-registry', 'skopeo', 'crane', 'htpasswd', 'openssl')) this.skip()
    plain = keep(await startRegistry({ dir: folder('plain') }))
    locked = keep(await startRegistry({ dir: folder('locked'), user: { name: 'me', password: 'secret' } }))
    const behind = keep(await startRegistry({ dir: folder('behind') }))
    tls = keep(await startTlsRelay({ dir: folder('tls'), target: behind.url }))
    await writeFile(folder('login'), 'me:secret\n')
    const client = await skopeo({ dir: folder('publisher') })
    for (const [name, where, args] of [
      ['plain', `${plain.host}/team/app:1`, []],
      ['locked', `${locked.host}/team/app:1`, ['--dest-creds', 'me:secret']],
      ['tls', `${behind.host}/team/app:1`, []],
      ['alpine', `${plain.host}/library/alpine:3`, []]
    ] as const) {
      const image = await makeImage({
        dir: folder(`image-${name}`),
        name: `${name}:1`,
        layers: [
          { size: 3_000_000, seed: name },
          { size: 1000, seed: 'shared' }
        ],
        ...(name === 'plain' && { platforms: ['linux/amd64', 'linux/arm64'] })
      })
      images[name] = image
      const to = ['--all', '--preserve-digests', '--dest-tls-verify=false', ...args]
      await client.run(['copy', ...to, `oci:${image.layout}`, `docker://${where}`])
    }
    one = await gateway('one', { env: settings() })
  })

  const expected = (name: string) => images[name]?.diffIds

  for (const name of ['plain', 'locked', 'tls'] as const) {
    it(`gives skopeo and crane what a ${name} one has`, async () => {
      const first = await skopeo({ dir: folder(`skopeo-${name}`) })
      assert.deepEqual((await first.pull(`${one.host}/${name}.example/team/app:1`)).diffIds, expected(name))
      const second = await crane({ dir: folder(`crane-${name}`) })
      assert.deepEqual(
        (await second.pull(`${one.host}/${name}.example/team/app:1`)).diffIds.slice(0, 2),
        expected(name)
      )
      const { stdout } = await second.run(['digest', `${one.host}/${name}.example/team/app:1`])
      assert.equal(stdout.trim(), images[name]?.top.digest)
    })
  }

  it('gives skopeo what it calls docker.io/alpine, with a mirror in registries.conf', async () => {
    const client = await skopeo({ dir: folder('mirrored') })
    await mkdir(join(folder('mirrored'), '.config/containers'), { recursive: true })
    await writeFile(
      join(folder('mirrored'), '.config/containers/registries.conf'),
      `[[registry]]\nlocation = "docker.io"\n[[registry.mirror]]\nlocation = "${one.host}/docker.io"\ninsecure = true\n`
    )
    const { stdout } = await client.run(['inspect', '--raw', 'docker://docker.io/library/alpine:3'])
    assert.match(stdout, /layers/)
    assert.deepEqual((await client.pull(`${one.host}/docker.io/alpine:3`)).diffIds, expected('alpine'))
  })

  it('lists what a registry has, also by an interface that it does not know', async () => {
    const tags = await fetch(`${one.url}/v2/plain.example/team/app/tags/list`)
    assert.deepEqual(await tags.json(), { name: 'plain.example/team/app', tags: ['1'] })
    const subject = images['plain']?.top.digest
    const referrers = await fetch(`${one.url}/v2/plain.example/team/app/referrers/${subject}`)
    assert.deepEqual(((await referrers.json()) as { manifests: unknown[] }).manifests, [])
    const none = await fetch(`${one.url}/v2/plain.example/team/none/tags/list`)
    assert.equal(none.status, 404)
  })

  it('serves push and pull beside them', async () => {
    const client = await skopeo({ dir: folder('beside') })
    const image = images['tls'] as Image
    await client.push(image, `${one.host}/example.com/own:1`)
    assert.deepEqual((await client.pull(`${one.host}/example.com/own:1`)).diffIds, image.diffIds)
  })

  it('brings what is listed here beforehand, at its start and by command', async () => {
    const env = { ...settings(), SEAWAY_PREFETCH: 'tls.example/team/app:1' }
    const warm = await gateway('warm', { env })
    await waitFor('the image to be here', async () => {
      // asking for its blobs would not tell: the upstream has them, too
      const { stdout } = await warm.seaway(['usage', '--json'])
      return (JSON.parse(stdout) as { store: { cached: number } }).store.cached > 3_000_000
    })
    const { stdout } = await warm.seaway([
      'prefetch',
      '--platform',
      'all',
      'plain.example/team/app:1',
      '--json'
    ])
    const [done] = JSON.parse(stdout) as { fetched: number; digest: string }[]
    assert.equal(done?.digest, images['plain']?.top.digest)
    assert.ok((done?.fetched ?? 0) > 3_000_000)
    await warm.stop()
  })

  it('tells somebody without credentials that they are missing', async () => {
    const two = await gateway('two', { env: { SEAWAY_UPSTREAMS: `locked.example=${locked.url}` } })
    const client = await crane({ dir: folder('crane-two') })
    await assert.rejects(client.pull(`${two.host}/locked.example/team/app:1`), /SEAWAY_UPSTREAM_AUTH/)
  })

  it('serves what is here while they are down, says so, and after a restart', async () => {
    await plain.stop()
    const client = await crane({ dir: folder('crane-down') })
    const reference = `${one.host}/plain.example/team/app:1`
    assert.deepEqual((await client.pull(reference)).diffIds.slice(0, 2), expected('plain'))
    const answer = await fetch(`${one.url}/v2/plain.example/team/app/manifests/1`)
    await answer.arrayBuffer()
    assert.match(answer.headers.get('warning') ?? '', /connection refused/)
    assert.ok((await one.logged()).some(({ msg }) => /what is here is served/.test(String(msg))))
    await one.stop()
    const again = await gateway('one', { env: settings() })
    const there = `${again.host}/plain.example/team/app:1`
    assert.deepEqual((await client.pull(there)).diffIds.slice(0, 2), expected('plain'))
    const none = await fetch(`${again.url}/v2/plain.example/team/none/manifests/1`)
    assert.equal(none.status, 502)
    assert.match(await none.text(), /connection refused/)
  })
})
