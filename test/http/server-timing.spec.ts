/** What a request waited for, as its answer says. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { timed, timingsOf } from '../../src/registry/timings.ts'
import { type OciClient, ociClient } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

/** The metrics of a Server-Timing header, in milliseconds. */
function metrics(header: string | string[] | undefined): Record<string, number> {
  const parts = header === undefined ? [] : String(header).split(', ')
  return Object.fromEntries(
    parts.map((part) => {
      const match = /^([a-z]+);dur=(\d+\.\d)$/.exec(part)
      assert.ok(match, part)
      return [match[1] as string, Number(match[2])]
    })
  )
}

describe('Server-Timing', () => {
  const domain = 'timed.example.org'
  const path = `/v2/${domain}/app/manifests/1`
  let publisher: RegistryServer
  let reader: RegistryServer
  let client: OciClient

  before(async () => {
    publisher = await startRegistryServer()
    reader = await startRegistryServer({ dns: publisher.dns })
    client = ociClient(reader)
  })
  after(async () => {
    await reader.stop()
    await publisher.stop()
  })

  it('says of a push how long it took to be durable, and of what is here nothing', async () => {
    const push = ociClient(publisher)
    const image = await push.image(`${domain}/app`, '1')
    const again = await push.put(`${domain}/app`, image, '1')
    assert.deepEqual(Object.keys(metrics(again.headers['server-timing'])), ['store'])
    for (const method of ['HEAD', 'GET']) {
      const { headers } = await push.expect(200, method, path)
      assert.equal(headers['server-timing'], undefined)
    }
  })

  it('says of a cold pull what each step took, and of a warm one nothing of what was not done again', async () => {
    await publisher.publish(domain)
    publisher.dns.behave('*', { delayMs: 40 })
    const cold = await client.expect(200, 'GET', path)
    publisher.dns.behave('*', undefined)
    const found = metrics(cold.headers['server-timing'])
    assert.deepEqual(Object.keys(found), ['resolve', 'dial', 'tree', 'fetch'])
    assert.ok((found['resolve'] ?? 0) >= 39, 'the name server took 40 ms')
    const [layer] = JSON.parse(cold.body.toString()).layers
    const blob = await client.expect(200, 'GET', `/v2/${domain}/app/blobs/${layer.digest}`)
    assert.ok('fetch' in metrics(blob.headers['server-timing']))
    const warm = metrics((await client.expect(200, 'HEAD', path)).headers['server-timing'])
    for (const name of ['tree', 'fetch']) assert.ok(!(name in warm), name)
  })

  it('says it of failures too', async () => {
    publisher.dns.behave('*', { rcode: 'SERVFAIL' })
    const failed = await client.call('GET', '/v2/other.example.org/app/manifests/1')
    publisher.dns.behave('*', undefined)
    assert.equal(failed.status, 502)
    assert.deepEqual(Object.keys(metrics(failed.headers['server-timing'])), ['resolve'])
  })
})

describe('timings of a request', () => {
  it('count waits that overlap once, and those that go on until now', async () => {
    const { signal } = new AbortController()
    assert.equal(timingsOf(signal), undefined)
    const start = performance.now()
    const first = timed(signal, 'tree', () => sleep(60))
    const rest = timed(signal, 'fetch', () => sleep(200))
    await sleep(30)
    await Promise.all([first, timed(signal, 'tree', () => sleep(60))])
    const noted = timingsOf(signal)
    const passed = performance.now() - start
    assert.deepEqual(
      noted?.map(({ name }) => name),
      ['tree', 'fetch']
    )
    // a timer may be a millisecond early
    for (const { ms } of noted ?? []) assert.ok(ms >= 88 && ms <= passed, `${ms} of ${passed} ms`)
    await rest
  })

  it('are noted when the work fails', async () => {
    const { signal } = new AbortController()
    const failing = timed(signal, 'dial', async () => {
      await sleep(5)
      throw new Error('nobody is there')
    })
    await assert.rejects(failing, /nobody is there/)
    assert.deepEqual(
      timingsOf(signal)?.map(({ name }) => name),
      ['dial']
    )
  })
})
