/**
 * What a gateway makes of a registry that fails: Debian's docker-registry, stopped, frozen, and behind a relay that does
 * what bad networks and bad servers do. What is here goes on being served, without the registry being waited for again;
 * the rest fails in words, or resumes; nothing wrong is kept.
 */
import assert from 'node:assert/strict'
import { useBed } from './support/bed.ts'
import { isKept, readBlob } from './support/blob-pull.ts'
import { type Client, crane } from './support/clients.ts'
import { freePort, waitFor } from './support/daemon.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { available } from './support/process.ts'
import { type Registry, startRegistry } from './support/registry.ts'
import { randomBytes } from './support/tar.ts'
import * as faulty from './support/upstream-relay.ts'
import { digestOf, refusalOf, repository } from './support/wire.ts'

const MiB = 1024 * 1024
const SIZE = 4 * MiB
const BLOBS = /^GET .*\/blobs\//

/** An answer must have come by then: the gateway's own deadlines are a second each, tries and waits between them few. */
const DEADLINE_MS = 30_000

/** One way to fail, at an upstream domain of its own. */
interface Case {
  readonly name: string
  readonly begin: (relay: faulty.UpstreamRelay) => unknown
  readonly end?: () => unknown
  /** What clients are told of what isn't here. */
  readonly status: number
  readonly code: string
  readonly message: RegExp
  /** Whether the registry is asked again as soon as it is well. */
  readonly forgiven?: false
}

describe('a registry that fails, behind a gateway', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('upfault')
  let registry: Registry
  let stopping: Registry
  let one: SeawayGateway
  const relays = new Map<string, faulty.UpstreamRelay>()
  const layer = (name: string, size = SIZE) => Buffer.concat([...randomBytes(size, name)])
  const within = () => ({ signal: AbortSignal.timeout(DEADLINE_MS) })
  const set = (relay: faulty.UpstreamRelay, ...faults: faulty.Fault[]) => {
    relay.faults = faults
  }
  const other = {
    'content-type': 'application/vnd.oci.image.manifest.v1+json',
    'docker-content-digest': `sha256:${'0'.repeat(64)}`
  }

  const cases: readonly Case[] = [
    {
      name: 'stopped',
      begin: () => stopping.stop(),
      end: async () => {
        stopping = keep(await startRegistry({ dir: folder('stopping'), port: stopping.port }))
      },
      status: 502,
      code: 'SOURCE_FAILED',
      message: /connection refused/
    },
    {
      name: 'frozen',
      begin: () => stopping.daemon.kill('SIGSTOP'),
      end: () => stopping.daemon.kill('SIGCONT'),
      status: 504,
      code: 'SOURCE_TIMEOUT',
      message: /did not answer within 1000 ms/
    },
    {
      name: 'asked too often (429)',
      begin: (relay) => set(relay, faulty.answering(429, { 'retry-after': '600' })),
      status: 429,
      code: 'TOOMANYREQUESTS',
      message: /\b(429|too often)\b/,
      forgiven: false
    },
    {
      name: 'answering 500',
      begin: (relay) => set(relay, faulty.answering(500)),
      status: 502,
      code: 'SOURCE_FAILED',
      message: /\(500 from 127\.0\.0\.1/
    },
    {
      name: 'answering with a page',
      begin: (relay) =>
        set(relay, faulty.answering(200, { 'content-type': 'text/html' }, '<html>log in first</html>')),
      status: 502,
      code: 'SOURCE_FAILED',
      message: /manifest|bytes/
    },
    {
      name: 'sending something else',
      begin: (relay) =>
        set(
          relay,
          { on: /manifests/, ...faulty.answering(200, other, '{"schemaVersion":2}') },
          faulty.turning(BLOBS)
        ),
      status: 502,
      code: 'SOURCE_FAILED',
      message: /, not sha256:000|other content; nothing of it was kept/
    },
    {
      name: 'redirecting in a loop',
      begin: (relay) => set(relay, faulty.redirecting()),
      status: 502,
      code: 'SOURCE_FAILED',
      message: /redirects more than/
    },
    {
      name: 'sending a byte a second',
      begin: (relay) => set(relay, faulty.dripping()),
      status: 504,
      code: 'SOURCE_TIMEOUT',
      message: /did not answer within 1000 ms/
    }
  ]
  const domainOf = ({ name }: Case) => `${name.replaceAll(/\W+/g, '-').replace(/-$/, '')}.example`
  const target = ({ name }: Case) => (['stopped', 'frozen'].includes(name) ? stopping : registry)

  before(async function () {
    if (!available('docker-registry', 'crane')) this.skip()
    registry = keep(await startRegistry({ dir: folder('registry') }))
    stopping = keep(await startRegistry({ dir: folder('stopping'), port: await freePort() }))
    for (const each of cases) {
      const direct = target(each) === stopping
      const relay = keep(await faulty.startUpstreamRelay(target(each).url))
      relays.set(domainOf(each), direct ? Object.assign(relay, { url: stopping.url }) : relay)
    }
    relays.set('cut.example', keep(await faulty.startUpstreamRelay(registry.url)))
    one = await gateway('one', {
      env: {
        SEAWAY_UPSTREAMS: [...relays].map(([domain, { url }]) => `${domain}=${url}`).join(','),
        SEAWAY_UPSTREAM_TTL: '0s',
        SEAWAY_UPSTREAM_TIMEOUT: '1s'
      }
    })
  })

  /** An image of one layer at the registry, as `team/<name>:1`, and who has pushed it there. */
  async function imageOf(name: string, size: number): Promise<{ image: Image; client: Client }> {
    const layers = [{ size, seed: name }]
    const image = await makeImage({ dir: folder(`image-${name}`), name: `${name}:1`, layers })
    const client = await crane({ dir: folder(`crane-${name}`) })
    await client.push(image, `${registry.host}/team/${name}:1`)
    return { image, client }
  }

  for (const each of cases) {
    const { name, begin, end, status, code, message, forgiven } = each

    it(`${name}: serves what is here, refuses the rest in words and keeps nothing wrong`, async () => {
      const domain = domainOf(each)
      const relay = relays.get(domain) as faulty.UpstreamRelay
      const there = (image: string) => repository(target(each).url, `${domain}/${image}`)
      const here = (image: string) => repository(one.url, `${domain}/${domain}/${image}`)
      for (const image of ['warm', 'half', 'cold'])
        await there(image).putImage('1', layer(`${domain} ${image}`))
      const warm = await here('warm').readImage('1')
      const half = (await (await here('half').getManifest('1')).json()) as { layers: { digest: string }[] }
      const wanted = half.layers[0]?.digest ?? ''

      await begin(relay)
      const stale = await here('warm').getManifest('1', within().signal)
      assert.equal(await digestOf(new Uint8Array(await stale.arrayBuffer())), warm[0])
      assert.match(stale.headers.get('warning') ?? '', /^110 /)
      const before = relay.asked.length
      for (const reference of ['1', warm[0] ?? ''])
        assert.deepEqual(await here('warm').readImage(reference), warm)
      assert.equal(relay.asked.length, before, 'it is asked again though it failed a moment ago')

      const refused = await refusalOf(await here('cold').getManifest('1', within().signal))
      assert.deepEqual([refused.status, refused.code], [status, code])
      assert.match(refused.message, message)
      const blob = await readBlob(await here('half').getBlob(wanted, within()), layer(`${domain} half`))
      assert.equal(blob.whole, false)
      assert.equal(await isKept(one, wanted), false)

      await end?.()
      set(relay)
      const asked = relay.asked.length
      if (forgiven === false) {
        assert.equal((await here('cold').getManifest('1')).status, status)
        assert.equal(relay.asked.length, asked, 'it wanted to be left alone')
        return
      }
      for (const image of ['half', 'cold']) await here(image).readImage('1')
    })
  }

  describe('in the middle of a blob', () => {
    const name = 'team/app'
    let relay: faulty.UpstreamRelay
    before(() => {
      relay = relays.get('cut.example') as faulty.UpstreamRelay
    })
    beforeEach(() => set(relay))
    const ranges = (digest: string) => relay.matching(new RegExp(`GET .*${digest}`))

    /** An image of one layer at the registry, its manifest here; its layer's digest. */
    async function begun(tag: string, bytes: Buffer): Promise<string> {
      const { layer: digest } = await repository(registry.url, name).putImage(tag, bytes)
      await (await repository(one.url, `cut.example/${name}`).getManifest(tag)).arrayBuffer()
      return digest
    }

    it('cut twice: goes on with a Range, and clients see nothing of it', async () => {
      const { image, client } = await imageOf('twice', SIZE)
      set(relay, faulty.cutting(BLOBS, 1.5 * MiB, 2))
      const { diffIds } = await client.pull(`${one.host}/cut.example/team/twice:1`, within())
      assert.deepEqual(diffIds, image.diffIds)
      const asked = ranges(image.layers[0]?.digest ?? '')
      assert.deepEqual(
        asked.map((each) => each.status),
        [200, 206, 206]
      )
      const [, second = 0, third = 0] = asked.map(({ range }) => Number(/\d+/.exec(range ?? '')?.[0]))
      assert.ok(0 < second && second < third, `it went on from ${second} and ${third}`)
      assert.equal(third + (asked[2]?.sent ?? 0), image.layers[0]?.size)
    })

    for (const [what, fault] of [
      ['cut again and again', faulty.cutting(BLOBS, 64 * 1024)],
      ['dried up to a byte a second', faulty.dryingUp(BLOBS, 64 * 1024)]
    ] as const) {
      it(`${what}: gives up in time, and the next one gets the rest`, async () => {
        const bytes = layer(what)
        const digest = await begun(what.replaceAll(' ', '-'), bytes)
        const here = repository(one.url, `cut.example/${name}`)
        set(relay, fault)
        const first = await readBlob(await here.getBlob(digest, within()), bytes)
        assert.deepEqual([first.whole, first.right, await isKept(one, digest)], [false, true, false])
        set(relay)
        const tries = ranges(digest).length
        assert.equal(await here.blobDigest(digest), digest)
        const rest = ranges(digest).slice(tries)
        assert.equal(rest.length, 1)
        assert.match(rest[0]?.range ?? '', /^bytes=[1-9]\d*-$/)
      })
    }

    it('other bytes, and then cut: the next one gets the right ones', async () => {
      const bytes = layer('mixed')
      const digest = await begun('mixed', bytes)
      const here = repository(one.url, `cut.example/${name}`)
      const wrong = faulty.turning(BLOBS)
      const cut = faulty.cutting(BLOBS, MiB)
      set(relay, { on: BLOBS, body: (given) => cut.body(wrong.body(given)) })
      assert.equal((await readBlob(await here.getBlob(digest, within()), bytes)).whole, false)
      set(relay)
      await waitFor('the right bytes', async () => {
        const { whole } = await readBlob(await here.getBlob(digest, within()), bytes)
        return whole
      })
      assert.equal(await isKept(one, digest), true)
    })
  })

  it('waits for a registry that wants to be left alone for a moment', async () => {
    const relay = relays.get('cut.example') as faulty.UpstreamRelay
    const { image, client } = await imageOf('polite', 1000)
    let left = 1
    set(relay, {
      answer(_, response) {
        if (--left === 0) relay.faults = []
        response.writeHead(429, { 'retry-after': '1' }).end()
      }
    })
    assert.deepEqual(
      (await client.pull(`${one.host}/cut.example/team/polite:1`, within())).diffIds,
      image.diffIds
    )
  })

  // after all others, which a test of the outer suite would not be
  describe('afterwards', () => {
    it('has left nothing wrong in the store', async () => {
      const { stdout } = await one.seaway(['verify', '--json', '--rate', 'none', '--restart'])
      const report = JSON.parse(stdout) as { blobs: number; damaged: number; bad: number; rootless: string[] }
      assert.ok(report.blobs > 3 * (cases.length - 1))
      assert.deepEqual([report.damaged, report.bad, report.rootless], [0, 0, []])
    })
  })
})
