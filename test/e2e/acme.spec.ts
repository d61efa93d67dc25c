/** Certificates by ACME from a real authority: had, renewed and kept, with pulls in flight. */
import assert from 'node:assert/strict'
import { createHash, randomBytes } from 'node:crypto'
import type { IncomingMessage } from 'node:http'
import { connect as connectHttp2 } from 'node:http2'
import { Agent, type RequestOptions, request } from 'node:https'
import { connect } from 'node:tls'
import { useBed } from './support/bed.ts'
import { freePort, waitFor } from './support/daemon.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Pebble, startPebble } from './support/pebble.ts'
import { available } from './support/process.ts'

const DOMAINS = ['registry.test', 'images.registry.test']

describe('certificates by ACME', function () {
  this.timeout(90_000)
  const { folder, keep, gateway: start } = useBed('acme')
  let ports: { tls: number; http: number }
  let pebble: Pebble

  before(function () {
    if (!available('pebble', 'pebble-challtestsrv')) this.skip()
  })

  /** An authority whose certificates hold for `validity` seconds, and a gateway that asks it. */
  async function prepare(
    name: string,
    validity: number,
    env: (httpPort: number) => Record<string, string> = () => ({})
  ): Promise<SeawayGateway> {
    ports = { tls: await freePort(), http: await freePort() }
    pebble = keep(
      await startPebble({ dir: folder(`${name}-ca`), httpPort: ports.http, tlsPort: ports.tls, validity })
    )
    return serve(name, env(ports.http))
  }

  const serve = (name: string, env: Record<string, string> = {}) =>
    start(name, {
      env: {
        SEAWAY_LISTEN: `127.0.0.1:${ports.tls}`,
        SEAWAY_TLS_ACME_DOMAINS: DOMAINS.join(),
        SEAWAY_TLS_ACME_EMAIL: 'admin@registry.test',
        SEAWAY_TLS_ACME_DIRECTORY: pebble.directory,
        SEAWAY_TLS_ACME_CA: pebble.ca,
        SEAWAY_TLS_ACME_RETRY: '1s',
        SEAWAY_LOG_LEVEL: 'info',
        ...env
      }
    })

  /** The mark of the certificate that new connections see; nothing while there is none. */
  const shown = (ca?: string) =>
    new Promise<string | undefined>((resolve) => {
      const trust = ca === undefined ? { rejectUnauthorized: false } : { ca }
      const socket = connect(
        { port: ports.tls, host: '127.0.0.1', servername: DOMAINS[1] ?? '', ...trust },
        () => {
          resolve(socket.getPeerX509Certificate()?.fingerprint256)
          socket.destroy()
        }
      )
      socket.on('error', () => resolve(undefined))
    })

  async function issued(): Promise<{ ca: string; mark: string }> {
    const ca = await pebble.root()
    let mark: string | undefined
    await waitFor('a certificate', async () => {
      mark = await shown(ca)
      return mark !== undefined
    })
    return { ca, mark: mark ?? '' }
  }

  /** A request over HTTP/1.1. */
  const ask = (options: RequestOptions & { body?: Uint8Array; pauseMs?: number }) =>
    new Promise<{ status: number; location: string; body: Buffer }>((resolve, reject) => {
      const to = { host: '127.0.0.1', port: ports.tls, servername: DOMAINS[0], agent: false, ...options }
      const read = async (answer: IncomingMessage) => {
        const chunks: Buffer[] = []
        for await (const chunk of answer) {
          chunks.push(chunk as Buffer)
          if (options.pauseMs) await new Promise((wait) => setTimeout(wait, options.pauseMs))
        }
        const { statusCode = 0, headers } = answer
        return { status: statusCode, location: headers.location ?? '', body: Buffer.concat(chunks) }
      }
      const asked = request(to, (answer) => void read(answer).then(resolve, reject))
      asked.on('error', reject)
      asked.end(options.body)
    })

  it('are had by TLS-ALPN-01 and renewed in time, and no pull notices', async () => {
    const gateway = await prepare('alpn', 12)
    assert.match(gateway.url, /^https:/)
    assert.equal((await gateway.lines())[0], `Seaway listens on ${gateway.url}`)
    const { ca, mark } = await issued()
    const bytes = randomBytes(2_000_000)
    const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`
    const begun = await ask({
      ca,
      method: 'POST',
      path: `/v2/app/blobs/uploads/?digest=${digest}`,
      body: bytes
    })
    assert.equal(begun.status, 201)

    const path = `/v2/app/blobs/${digest}`
    const marks = new Set([mark])
    let pulls = 0
    const pull = async (options: Parameters<typeof ask>[0]) => {
      const { status, body } = await ask({ ca, path, ...options })
      assert.equal(status, 200)
      assert.ok(body.equals(bytes))
      pulls++
    }
    const renewed = () => marks.size >= 2
    const again = async (work: () => Promise<void>) => {
      while (!renewed()) await work()
    }
    const agent = new Agent({ keepAlive: true, maxSockets: 1 })
    const session = connectHttp2(`https://localhost:${ports.tls}`, { ca, servername: DOMAINS[0] ?? '' })
    await Promise.all([
      again(() => pull({})),
      again(() => pull({ agent })),
      // two megabytes in pieces, with a pause after each: across a renewal
      again(() => pull({ pauseMs: 50 })),
      again(async () => {
        const stream = session.request({ ':path': path })
        const hash = createHash('sha256')
        for await (const chunk of stream) hash.update(chunk as Buffer)
        assert.equal(`sha256:${hash.digest('hex')}`, digest)
        pulls++
      }),
      again(async () => {
        const now = await shown(ca)
        assert.ok(now !== undefined, 'the certificate was not good for a moment')
        marks.add(now)
        await new Promise((wait) => setTimeout(wait, 100))
      })
    ])
    session.destroy()
    agent.destroy()
    assert.ok(pulls > 10, String(pulls))
    const said = (await gateway.seaway(['doctor'], { allowFailure: true })).stdout
    assert.match(said, /it answers at https:\S+, with a certificate for \S+, \S+ until/)
  })

  it('are had by HTTP-01 where there is a plain port, which sends clients to https, and outlive a restart', async () => {
    const http = (port: number) => ({ SEAWAY_TLS_PLAIN_LISTEN: `127.0.0.1:${port}` })
    const gateway = await prepare('http', 3600, http)
    const { mark } = await issued()
    const moved = await fetch(`http://127.0.0.1:${ports.http}/v2/app/tags/list?n=1`, { redirect: 'manual' })
    assert.deepEqual(
      [moved.status, moved.headers.get('location')],
      [308, `https://127.0.0.1:${ports.tls}/v2/app/tags/list?n=1`]
    )
    const refused = await fetch(`http://127.0.0.1:${ports.http}/v2/app/blobs/uploads/`, { method: 'POST' })
    assert.equal(refused.status, 400)
    const issue = (await gateway.logged()).find(({ msg }) => msg === 'a certificate was issued')
    assert.ok(issue)
    await gateway.stop()
    await pebble.stop()
    await serve('http', http(ports.http))
    await waitFor('the certificate that was kept', async () => (await shown()) === mark)
  })

  it('are asked for again when the authority could not be reached, by the other proof too', async () => {
    const gateway = await prepare('retry', 3600, () => ({ SEAWAY_TLS_PLAIN_LISTEN: '127.0.0.1:0' }))
    // the authority looks for HTTP-01 where nobody listens
    await issued()
    const kinds = (await gateway.logged()).filter(({ level }) => level === 'error').map(({ kind }) => kind)
    assert.deepEqual([...new Set(kinds)], ['http-01'])
  })
})
