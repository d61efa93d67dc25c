/**
 * IPNS names between Seaway and Kubo, in both directions, and between gateways: over HTTP, over libp2p and by
 * delegated routing. All on loopback.
 */
import assert from 'node:assert/strict'
import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { generateKeyPair } from '@libp2p/crypto/keys'
import { makeRecord, nameOfKey } from '../../src/discovery/index.ts'
import { useBed } from './support/bed.ts'
import { type Bind, startBind } from './support/bind.ts'
import { type Client, skopeo } from './support/clients.ts'
import { waitFor } from './support/daemon.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { type Kubo, startKubo } from './support/kubo.ts'
import { available } from './support/process.ts'
import { repository } from './support/wire.ts'

const TYPE = 'application/vnd.ipfs.ipns-record'

describe('IPNS', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('ipns')
  let bind: Bind
  let kubo: Kubo
  let client: Client
  const images: Image[] = []
  let publisher: SeawayGateway
  let puller: SeawayGateway
  let way: string
  let name: string

  before(async function () {
    if (!available('named', 'dig', 'nsupdate', 'tsig-keygen', 'ipfs', 'skopeo')) this.skip()
    const zones = { 'ships.example': [], 'docks.example': [] }
    bind = keep(await startBind({ dir: folder('named'), zones, updateKey: 'seaway' }))
    way = `rfc2136?server=${bind.server}&key=${bind.key?.file}`
    client = await skopeo({ dir: folder('skopeo') })
    for (const tag of ['1', '2'])
      images.push(
        await makeImage({
          dir: folder(`image-${tag}`),
          name: `app:${tag}`,
          layers: [{ size: 200_000, seed: tag }]
        })
      )
    publisher = await gateway('publisher', {
      dns: bind.server,
      env: { SEAWAY_PUBLISHERS: `ships.example=${way}&ttl=1&ipns=yes`, SEAWAY_PUBLISH_AFTER: '200ms' }
    })
    puller = await gateway('puller', { dns: bind.server })
    // Kubo asks nobody but the publisher's delegated routing, and gives its own records to it
    kubo = keep(
      await startKubo({
        dir: folder('kubo'),
        settings: {
          'Routing.Type': 'delegated',
          'Provide.Enabled': false,
          'Routing.DelegatedRouters': [publisher.url],
          'Ipns.DelegatedPublishers': [publisher.url]
        }
      })
    )
  })

  const has = (tag: string, at: SeawayGateway = puller): Promise<void> =>
    waitFor(`tag ${tag} at the other gateway`, async (signal) => {
      const answer = await repository(at.url, 'ships.example/app').getManifest(tag, signal)
      return answer.status === 200
    })

  it('the dnslink record names the key once, and pulls elsewhere follow the signed record', async () => {
    await client.push(images[0] as Image, `${publisher.host}/ships.example/app:1`)
    await has('1')
    const [link = ''] = await bind.dig('_dnslink.ships.example')
    name = /^"dnslink=\/ipns\/(k51\w+)"$/.exec(link)?.[1] ?? ''
    assert.notEqual(name, '', link)
    await client.push(images[1] as Image, `${publisher.host}/ships.example/app:2`)
    await has('2')
    assert.deepEqual(await bind.dig('_dnslink.ships.example'), [link])
    assert.deepEqual((await client.pull(`${puller.host}/ships.example/app:2`)).diffIds, images[1]?.diffIds)
  })

  it('the key is a file that only its owner can read', async () => {
    const file = await stat(join(publisher.data, 'keys/ships.example.key'))
    assert.equal(file.mode & 0o777, 0o600)
    const { stdout } = await publisher.seaway(['key', 'list', '--json'])
    assert.deepEqual(JSON.parse(stdout), [{ domain: 'ships.example', name, retired: false }])
  })

  it('the record is served over HTTP and by delegated routing, until it expires', async () => {
    for (const path of [`/ipns/${name}?format=ipns-record`, `/routing/v1/ipns/${name}`]) {
      const answer = await fetch(`${publisher.url}${path}`, { headers: { accept: TYPE } })
      assert.equal(answer.status, 200)
      assert.equal(answer.headers.get('content-type'), TYPE)
      assert.match(answer.headers.get('cache-control') ?? '', /^public, max-age=1$/)
    }
    const none = nameOfKey(await generateKeyPair('Ed25519')).text
    assert.equal((await fetch(`${publisher.url}/routing/v1/ipns/${none}`)).status, 404)
    assert.equal((await fetch(`${publisher.url}/routing/v1/ipns/nonsense`)).status, 404)
  })

  it("Seaway's name resolves in Kubo, and Kubo finds the record sound", async () => {
    const root = await publisher.root('ships.example')
    const { stdout } = await kubo.ipfs(['name', 'resolve', '--nocache', `/ipns/${name}`])
    assert.equal(stdout.trim(), `/ipfs/${root}`)
    const record = folder('record')
    const answer = await fetch(`${publisher.url}/routing/v1/ipns/${name}`)
    await writeFile(record, Buffer.from(await answer.arrayBuffer()))
    const { stdout: shown } = await kubo.ipfs(['name', 'inspect', '--verify', name, record, '--enc=json'])
    const inspected = JSON.parse(shown)
    assert.equal(inspected.Validation.Valid, true, shown)
    assert.equal(inspected.Entry.Value, `/ipfs/${root}`)
  })

  it("Kubo's name pulls through Seaway: Kubo gives its record to delegated routing", async () => {
    const root = await publisher.root('ships.example')
    const { stdout } = await kubo.ipfs([
      'name',
      'publish',
      '--resolve=false',
      '--ttl=1s',
      '--quieter',
      `/ipfs/${root}`
    ])
    const theirs = stdout.trim()
    const answer = await repository(publisher.url, `ipns/${theirs}/app`).getManifest('2')
    assert.equal(answer.status, 200, await answer.text())
    // one who knows of the publisher by its address alone, and asks its gateway
    const reader = await gateway('reader', {
      dns: bind.server,
      env: { SEAWAY_PEERS: publisher.peers.join(',') }
    })
    assert.deepEqual((await client.pull(`${reader.host}/ipns/${theirs}/app:2`)).diffIds, images[1]?.diffIds)
    // and one that has the publisher as its routing service
    const routed = await gateway('routed', {
      dns: bind.server,
      env: {
        SEAWAY_ROUTING: 'public',
        SEAWAY_BOOTSTRAP: '',
        SEAWAY_DELEGATED_ROUTERS: publisher.url,
        SEAWAY_PEERS: publisher.peers.join(',')
      }
    })
    assert.equal((await repository(routed.url, `ipns/${theirs}/app`).getManifest('1')).status, 200)
  })

  it("Kubo's gateway, named in ipfsnode=, gives the record of its name", async () => {
    const root = await publisher.root('ships.example')
    await kubo.ipfs(['name', 'publish', '--resolve=false', '--ttl=1s', '--quieter', `/ipfs/${root}`])
    const { stdout } = await kubo.ipfs(['key', 'list', '-l', '--ipns-base=base36'])
    const theirs = stdout.split(/\s/)[0] ?? ''
    await bind.setTxt('docks.example', {
      _dnslink: `dnslink=/ipns/${theirs}`,
      '@': [
        `ipfsnode=${JSON.stringify([`/ip4/127.0.0.1/tcp/${new URL(kubo.gateway).port}/http`, ...publisher.peers])}`
      ]
    })
    const fresh = await gateway('fresh', { dns: bind.server })
    const answer = await repository(fresh.url, 'docks.example/ships.example/app').getManifest('2')
    assert.equal(answer.status, 200, await answer.text())
  })

  it('keys travel between Kubo and Seaway; a second gateway publishes the same name', async () => {
    const ours = folder('ours.key')
    await publisher.seaway(['key', 'export', 'ships.example', ours])
    assert.equal((await stat(ours)).mode & 0o777, 0o600)
    const { stdout } = await kubo.ipfs(['key', 'import', '--ipns-base=base36', 'ships', ours])
    assert.equal(stdout.trim(), name)
    await kubo.ipfs(['key', 'gen', '--type=ed25519', 'theirs'])
    const theirs = folder('theirs.pem')
    await kubo.ipfs(['key', 'export', '--format=pem-pkcs8-cleartext', '-o', theirs, 'theirs'])
    const imported = await puller.seaway(['key', 'import', 'docks.example', theirs])
    const { stdout: listed } = await kubo.ipfs(['key', 'list', '-l', '--ipns-base=base36'])
    const expected = listed
      .split('\n')
      .find((line) => line.includes('theirs'))
      ?.split(/\s/)[0]
    assert.match(imported.stdout, new RegExp(`IPNS name ${expected}$`, 'm'))
    const again = await puller.seaway(['key', 'import', 'docks.example', ours], { allowFailure: true })
    assert.match(again.stderr, /has another IPNS key here already/)
    const pem = folder('ours.pem')
    await publisher.seaway(['key', 'export', 'ships.example', pem, '--pem'])
    const same = await kubo.ipfs(
      ['key', 'import', '--format=pem-pkcs8-cleartext', '--ipns-base=base36', 'pem', pem],
      {
        allowFailure: true
      }
    )
    assert.match(same.stdout + same.stderr, new RegExp(`${name}|already exists`))
  })

  it('a lower sequence is refused, an expired record too, and each is told', async () => {
    const key = await generateKeyPair('Ed25519')
    const root = await publisher.root('ships.example')
    const record = (sequence: bigint, lifetimeMs: number): Promise<Uint8Array> =>
      makeRecord(key, {
        value: `/ipfs/${root}`,
        sequence,
        lifetimeMs,
        ttlMs: 1000,
        providers: [],
        now: Date.now()
      })
    const url = `${publisher.url}/routing/v1/ipns/${nameOfKey(key).text}`
    const put = async (bytes: Uint8Array): Promise<Response> =>
      fetch(url, { method: 'PUT', body: Buffer.from(bytes), headers: { 'content-type': TYPE } })
    assert.equal((await put(await record(7n, 60_000))).status, 200)
    const older = await put(await record(6n, 600_000))
    assert.equal(older.status, 403)
    assert.match(await older.text(), /sequence is 6, and 7 has been seen/)
    const expired = await put(await record(8n, -1000))
    assert.equal(expired.status, 400)
    assert.match(await expired.text(), /expired at/)
    const spoilt = Buffer.from(await record(9n, 60_000))
    spoilt[spoilt.length - 20] = (spoilt.at(-20) ?? 0) ^ 1
    assert.equal((await put(spoilt)).status, 400)
    const kept = new Uint8Array(await (await fetch(url)).arrayBuffer())
    assert.ok(Buffer.from(kept).equals(Buffer.from(await (await fetch(url)).arrayBuffer())))
    assert.equal((await put(new Uint8Array(20_000))).status, 413)
  })

  it('a new key: the old name leads to the new one, until the record in DNS says so itself', async () => {
    const { stdout } = await publisher.seaway(['key', 'rotate', 'ships.example', '--json'])
    const rotated = JSON.parse(stdout)
    assert.equal(rotated.old.name, name)
    const root = await publisher.root('ships.example')
    const resolved = await kubo.ipfs(['name', 'resolve', '--nocache', '--recursive=false', `/ipns/${name}`])
    assert.equal(resolved.stdout.trim(), `/ipns/${rotated.now.name}`)
    const whole = await kubo.ipfs(['name', 'resolve', '--nocache', `/ipns/${name}`])
    assert.equal(whole.stdout.trim(), `/ipfs/${root}`)
    const stranger = await gateway('stranger', { dns: bind.server })
    await has('2', stranger)
    await publisher.seaway(['publish', 'ships.example', '--wait', '30s'])
    assert.deepEqual(await bind.dig('_dnslink.ships.example'), [`"dnslink=/ipns/${rotated.now.name}"`])
    await has('2', stranger)
  })

  it('signs its record again in time; one that ran out is refused, and signed again at the next start', async () => {
    const short = { SEAWAY_IPNS_LIFETIME: '4s', SEAWAY_PUSH_BASE: 'empty' }
    const brief = await gateway('brief', { dns: bind.server, env: short })
    await client.push(images[0] as Image, `${brief.host}/docks.example/app:1`)
    const options = ['--ipns', '--force', '--ttl', '1', '--json', '--dns', way]
    const { ipns: key } = JSON.parse((await brief.seaway(['publish', 'docks.example', ...options])).stdout)
    const recordAt = async (at: SeawayGateway): Promise<string | undefined> => {
      const answer = await fetch(`${at.url}/routing/v1/ipns/${key}`)
      return answer.status === 200 ? Buffer.from(await answer.arrayBuffer()).toString('hex') : undefined
    }
    const first = await recordAt(brief)
    await waitFor('a new signature', async () => {
      const now = await recordAt(brief)
      return now !== undefined && now !== first
    })
    const reader = await gateway('brief-reader', {
      dns: bind.server,
      env: { SEAWAY_PEERS: brief.peers.join(',') }
    })
    const pull = (): Promise<Response> => repository(reader.url, `ipns/${key}/app`).getManifest('1')
    assert.equal((await pull()).status, 200)
    await brief.stop()
    await waitFor('the record to run out', async () => {
      const answer = await pull()
      return (
        answer.status >= 500 && /expired at .*its publisher has to publish it again/.test(await answer.text())
      )
    })
    const again = await gateway('brief', { dns: bind.server, env: short })
    await waitFor('a record that holds again', async () => (await recordAt(again)) !== undefined)
  })

  it('goes on with the record that it knows while nobody can be asked', async () => {
    await publisher.stop()
    const answer = await repository(puller.url, 'ships.example/app').getManifest('2')
    assert.equal(answer.status, 200)
  })
})
