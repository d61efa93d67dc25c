/** What the doctor says of other registries. */
import assert from 'node:assert/strict'
import type { Diagnosis, DoctorStep } from '../../src/registry/index.ts'
import { type PullThroughBed, startPullThrough } from '../support/pull-through-bed.ts'

describe('the doctor, of a domain that is pulled through', function () {
  this.timeout(60_000)
  let bed: PullThroughBed
  beforeEach(async () => {
    bed = await startPullThrough()
    bed.there.image('library/alpine', '3', ['x'])
  })
  afterEach(() => bed.stop())

  const { signal } = new AbortController()
  async function examine(request: {
    domain?: string
    repository?: string
    tag?: string
  }): Promise<Diagnosis> {
    const { doctor } = bed.server.registry
    assert.ok(doctor)
    return doctor.examine(request, { signal, report: () => undefined })
  }
  function stepOf(found: Diagnosis, name: string): DoctorStep {
    const step = found.steps.find((each) => each.step === name)
    assert.ok(step, `${name} in ${found.steps.map((each) => each.step)}`)
    return step
  }

  it('asks its registry as a pull does, and shows how often it may be asked', async () => {
    for (const domain of ['docker.io', 'index.docker.io']) {
      const found = await examine({ domain, repository: 'alpine', tag: '3' })
      const { state, parts } = stepOf(found, 'upstream')
      assert.equal(state, 'ok')
      assert.match(parts[0]?.says ?? '', /it has library\/alpine:3; ratelimit-remaining 99;w=21600/)
      assert.equal(stepOf(found, 'records').state, 'skipped')
      assert.equal(found.ok, true)
    }
    assert.equal(bed.there.count(/^GET/), 0, 'HEAD is no pull')
  })

  it('minds no missing record where it is looked for in DNS, too', async () => {
    const found = await examine({ domain: 'up.example' })
    assert.equal(stepOf(found, 'upstream').says, '1 of 1 answer')
    assert.match(stepOf(found, 'records').says, /publishes no tree/)
    assert.equal(found.ok, true)
  })

  for (const [status, cause] of [
    [500, 'upstream-down'],
    [403, 'upstream-denied'],
    [429, 'rate-limited'],
    [404, 'no-tag'],
    [418, 'upstream-wrong']
  ] as const)
    it(`says what is wrong when it answers ${status}, and what mends it`, async () => {
      bed.there.fault = (_, res) => {
        res.writeHead(status, { 'ratelimit-remaining': '0;w=21600', 'docker-ratelimit-source': '192.0.2.1' })
        res.end()
        return true
      }
      const found = await examine({ domain: 'docker.io', repository: 'alpine' })
      const { trouble, parts } = stepOf(found, 'upstream')
      assert.equal(found.failed, 'upstream')
      assert.equal(trouble?.cause, cause)
      assert.match(parts[0]?.says ?? '', /docker-ratelimit-source 192\.0\.2\.1/)
    })

  it('warns when no more pulls are left', async () => {
    bed.there.fault = (_, res) => {
      res.setHeader('ratelimit-remaining', '0;w=21600')
      return false
    }
    const found = await examine({ domain: 'docker.io' })
    const { state, trouble } = stepOf(found, 'upstream')
    assert.deepEqual([state, trouble?.cause, found.ok], ['warning', 'rate-limited', true])
  })

  it('has numbers of it for Prometheus', async () => {
    await bed.pull('docker.io/alpine', '3')
    const url = `url="${bed.there.url}/"`
    const text = async () => (await bed.client.expect(200, 'GET', '/metrics')).body.toString()
    const well = await text()
    assert.ok(well.includes(`seaway_upstream_up{domain="docker.io",${url}} 1\n`), well)
    assert.ok(well.includes(`seaway_upstream_ratelimit_remaining{domain="docker.io",${url}} 99\n`), well)
    bed.there.fault = (_, res) => {
      const source = { 'docker-ratelimit-source': '192.0.2.1', 'ratelimit-limit': '100;w=21600' }
      res.writeHead(429, { 'retry-after': '60', 'ratelimit-remaining': '0;w=21600', ...source }).end()
      return true
    }
    await bed.get('docker.io/alpine/manifests/none', 429)
    const busy = await text()
    assert.ok(busy.includes(`seaway_upstream_up{domain="docker.io",${url}} 0\n`), busy)
    const limited = `{domain="docker.io",${url},source="192.0.2.1"}`
    assert.ok(busy.includes(`seaway_upstream_ratelimit_limit${limited} 100\n`), busy)
    assert.ok(busy.includes(`seaway_upstream_ratelimit_remaining${limited} 0\n`), busy)
  })

  it('asks nobody to publish what is pulled through', async () => {
    await bed.pull('docker.io/alpine', '3')
    const { state, says } = stepOf(await examine({}), 'published')
    assert.deepEqual([state, says], ['ok', 'nothing was pushed to a domain yet'])
  })

  it('shows what registries said last, of the gateway', async () => {
    await bed.pull('docker.io/alpine', '3')
    const well = stepOf(await examine({}), 'upstreams')
    assert.equal(well.state, 'ok')
    assert.match(well.says, /docker\.io.* are pulled through/)
    assert.match(well.parts[0]?.says ?? '', /well; ratelimit-remaining 99/)
    bed.there.fault = (_, res) => {
      res.writeHead(429, { 'retry-after': '60' }).end()
      return true
    }
    await bed.get('docker.io/alpine/manifests/none', 429)
    const busy = stepOf(await examine({}), 'upstreams')
    assert.deepEqual([busy.state, busy.trouble?.cause], ['warning', 'upstream-down'])
  })
})
