import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import {
  type Answer,
  type Ask,
  digestOf,
  type OciClient,
  ociClient,
  type RawConnection,
  rawConnection,
  withQuery
} from '../support/oci-client.ts'
import {
  type RegistryServer,
  type RegistryServerOptions,
  startRegistryServer
} from '../support/registry-server.ts'

/** Every client is behind it: this machine. */
const PROXY = { trustedProxies: ['127.0.0.0/8'] }

const by = (address: string) => ({ headers: { 'x-forwarded-for': address } })

describe('what one client may have', () => {
  let server: RegistryServer
  let client: OciClient
  const start = async (options: RegistryServerOptions) => {
    server = await startRegistryServer(options)
    client = ociClient(server)
  }
  afterEach(() => server.stop())

  /** Asks until it is refused; how often it was not. */
  async function refusal(ask: Ask): Promise<{ served: number; refused: Answer }> {
    for (let served = 0; served < 1000; served++) {
      const answer = await client.call('GET', '/v2/', ask)
      if (answer.status !== 200) return { served, refused: answer }
    }
    throw new Error('nothing was refused')
  }

  it('requests: so many, then 429 with Retry-After, and again later; others are not touched', async () => {
    await start({ admission: { ...PROXY, requestRate: 2 } })
    const [mine, others] = [by('203.0.113.5'), by('203.0.113.6')]
    const { served, refused } = await refusal(mine)
    assert.ok(served >= 20)
    assert.deepEqual(
      [refused.status, refused.code, refused.headers['retry-after']],
      [429, 'TOOMANYREQUESTS', '1']
    )
    assert.equal((await client.call('GET', '/v2/', others)).status, 200)
    assert.equal((await client.call('GET', '/v2/', by('203.0.113.5, 203.0.113.6'))).status, 200)
    // blocks for peers have seats of their own
    assert.equal((await client.call('GET', '/ipfs/bafkqaaa?format=raw', mine)).status, 200)
    await delay(1000)
    assert.equal((await client.call('GET', '/v2/', mine)).status, 200)
  })

  it('requests of one IPv6 network are those of one client', async () => {
    await start({ admission: { ...PROXY, requestRate: 1 } })
    let last = 0
    const next = {
      get headers() {
        return by(`2001:db8::${(last++).toString(16)}`).headers
      }
    }
    assert.equal((await refusal(next)).refused.status, 429)
    assert.equal((await client.call('GET', '/v2/', by('2001:db8:0:1::1'))).status, 200)
  })

  it('requests are not somebody else’s because a header says so', async () => {
    await start({ admission: { requestRate: 1 } })
    let last = 0
    const next = {
      get headers() {
        return by(`203.0.113.${last++ % 255}`).headers
      }
    }
    assert.equal((await refusal(next)).refused.status, 429)
  })

  it('bodies at a time, of one and of all', async () => {
    await start({ admission: { ...PROXY, uploads: { total: 3, perAddress: 2 } } })
    /** An upload whose body doesn't end, once it has been answered or is being taken. */
    const begun = async (from: string): Promise<RawConnection> => {
      const lines = [
        `PATCH ${await client.begin('app')} HTTP/1.1`,
        'Host: a',
        `X-Forwarded-For: ${from}`,
        'Content-Length: 10',
        'Expect: 100-continue',
        '',
        'abc'
      ]
      const one = rawConnection(server, lines.join('\r\n'))
      await one.until(/100 Continue/)
      return one
    }
    const open = [await begun('203.0.113.5'), await begun('203.0.113.5')]
    const refused = await begun('203.0.113.5')
    assert.match(await refused.until(/Retry-After: 1[^]*TOOMANYREQUESTS/i), /HTTP\/1.1 429/)
    open.push(await begun('203.0.113.6'))
    assert.match(await (await begun('203.0.113.7')).until(/TOOMANYREQUESTS/), /HTTP\/1.1 429/)
    // whoever only asks is served, and an upload is taken when another one is over
    assert.equal((await client.call('GET', '/v2/_catalog', by('203.0.113.5'))).status, 200)
    for (const { socket } of open) socket.destroy()
    for (;;) {
      const body = randomBytes(1000)
      const target = withQuery(await client.begin('app'), `digest=${digestOf(body)}`)
      const { status } = await client.call('PUT', target, { body, ...by('203.0.113.5') })
      if (status === 201) break
      assert.equal(status, 429)
    }
  })

  it('connections; those of a trusted proxy are of many', async () => {
    await start({})
    for (const [trustedProxies, expected] of [
      [[], 3],
      [['127.0.0.1'], 5]
    ] as const) {
      const other = await startRegistryServer({ admission: { trustedProxies }, maxConnectionsPerAddress: 3 })
      const open = Array.from({ length: 5 }, () =>
        rawConnection(other, 'GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n')
      )
      const answers = await Promise.all(open.map((one) => one.until(/\{\}$/).catch(() => '')))
      assert.equal(answers.filter((text) => text.includes('200 OK')).length, expected)
      for (const { socket } of open) socket.destroy()
      await other.stop()
    }
  })

  it('bytes a second, both ways, whole and in ranges', async () => {
    const rate = 400_000
    await start({ admission: { rate: { perAddress: rate, total: undefined } } })
    const blob = randomBytes(rate)
    // a tenth of a second's worth goes at once, and the last piece on credit
    const least = ((rate - 0.1 * rate - 262_144) / rate) * 1000
    for (const way of ['sent', 'got']) {
      const begun = performance.now()
      const path = `/v2/app/blobs/${(await client.blob('app', blob)).digest}`
      if (way === 'got') {
        const answer = await client.call('GET', path)
        assert.deepEqual([answer.headers['content-length'], answer.body.equals(blob)], [String(rate), true])
        const part = await client.call('GET', path, { headers: { range: 'bytes=100-199' } })
        assert.deepEqual([part.status, part.body.equals(blob.subarray(100, 200))], [206, true])
      }
      assert.ok(performance.now() - begun >= least)
    }
  })

  it('bytes a second of all, who are served all the same', async () => {
    await start({ admission: { ...PROXY, rate: { perAddress: 2_000_000, total: 1_000_000 } } })
    const blob = randomBytes(300_000)
    const { digest } = await client.blob('app', blob)
    const answers = await Promise.all(
      [1, 2, 3, 4].map((i) => client.call('GET', `/v2/app/blobs/${digest}`, by(`203.0.113.${i}`)))
    )
    for (const { body } of answers) assert.ok(body.equals(blob))
    const at = await client.begin('app')
    const gone = rawConnection(server, `GET /v2/app/blobs/${digest} HTTP/1.1\r\nHost: a\r\n\r\n`)
    await gone.until(/\r\n\r\n/)
    gone.socket.destroy()
    const put = await client.call('PUT', withQuery(at, `digest=${digest}`), { body: blob })
    assert.equal(put.status, 201)
  })
})
