/**
 * What a gateway makes of a registry that fails: Debian's docker-registry, stopped, frozen, and behind a relay that does
 * what bad servers do. What is here goes on being served, without the registry being asked again; the rest fails in words
 * and in time; nothing wrong is kept. What fails in the middle of a blob: `upstream-cuts.spec.ts`.
 */
import assert from 'node:assert/strict'
import { useBed } from './support/bed.ts'
import { checkedBlobs, isKept, readBlob } from './support/blob-pull.ts'
import { freePort } from './support/daemon.ts'
import type { SeawayGateway } from './support/gateway.ts'
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
    if (!available('docker-registry')) this.skip()
    registry = keep(await startRegistry({ dir: folder('registry') }))
    stopping = keep(await startRegistry({ dir: folder('stopping'), port: await freePort() }))
    for (const domain of ['polite.example', ...cases.map(domainOf)])
      relays.set(domain, keep(await faulty.startUpstreamRelay(registry.url)))
    const urls = new Map([...relays].map(([domain, { url }]) => [domain, url]))
    // what befalls the registry itself must not be the relay's doing
    for (const each of cases) if (target(each) === stopping) urls.set(domainOf(each), stopping.url)
    one = await gateway('one', {
      env: {
        SEAWAY_UPSTREAMS: [...urls].map(([domain, url]) => `${domain}=${url}`).join(','),
        SEAWAY_UPSTREAM_TTL: '0s',
        SEAWAY_UPSTREAM_TIMEOUT: '1s'
      }
    })
  })

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

  it('waits for a registry that wants to be left alone for a moment', async () => {
    const relay = relays.get('polite.example') as faulty.UpstreamRelay
    await repository(registry.url, 'team/polite').putImage('1', layer('polite'))
    set(relay, {
      answer(_, response) {
        relay.faults = []
        response.writeHead(429, { 'retry-after': '1' }).end()
      }
    })
    await repository(one.url, 'polite.example/team/polite').readImage('1')
    assert.equal(relay.matching(/^GET .*manifests/).length, 2)
  })

  // after all others, which a test of the outer suite would not be
  describe('afterwards', () => {
    it('has left nothing wrong in the store', async () => {
      assert.ok((await checkedBlobs(one)) > 3 * (cases.length - 1))
    })
  })
})
