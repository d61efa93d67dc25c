/** What clients and others do with connections; requests are written byte by byte. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { once } from 'node:events'
import { connect as tlsConnect } from 'node:tls'
import { digestOf, type OciClient, ociClient, rawConnection, withQuery } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'
import { reset } from '../support/reset.ts'

/** How long a client may be silent in these tests, in milliseconds. */
const IDLE = 800

describe('connections', () => {
  let server: RegistryServer
  let client: OciClient
  const blob = randomBytes(1000)
  const path = `/v2/app/blobs/${digestOf(blob)}`
  const raw = (...lines: string[]) => rawConnection(server, lines.join('\r\n'))
  const seconds = async <T>(work: Promise<T>): Promise<[T, number]> => {
    const start = performance.now()
    return [await work, (performance.now() - start) / 1000]
  }

  before(async () => {
    server = await startRegistryServer({ idleMs: IDLE })
    client = ociClient(server)
    await client.blob('app', blob)
  })
  after(() => server.stop())

  it('serve one request after another', async () => {
    const { socket, until, text } = raw('GET /v2/ HTTP/1.1', 'Host: a', '', '')
    await until(/\{\}$/)
    for (const status of ['200', '404', '400']) {
      const before = text().length
      const target = { 200: path, 404: '/v2/app/manifests/none', 400: '/v2/app/blobs/sha256:x' }[status]
      socket.write(`HEAD ${target} HTTP/1.1\r\nHost: a\r\n\r\n`)
      await until(new RegExp(`^[^]{${before}}HTTP/1.1 ${status}[^]*\r\n\r\n`))
    }
    socket.destroy()
  })

  it('serve pipelined requests in their order', async () => {
    const paths = ['/v2/', '/v2/app/tags/list', '/v2/_catalog', '/v2/app/manifests/none', path, '/v2/']
    const head = paths.map((each) => `HEAD ${each} HTTP/1.1\r\nHost: a\r\n`)
    const { closed } = raw(...head, 'GET /v2/ HTTP/1.1', 'Host: a', 'Connection: close', '', '')
    const statuses = [...(await closed).matchAll(/^HTTP\/1.1 (\d+)/gm)].map(([, status]) => status)
    assert.deepEqual(statuses, ['200', '404', '200', '404', '200', '200', '200'])
  })

  it('go on after a refused body: what follows is a new request', async () => {
    const { socket, until } = raw(
      'PUT /v2/app/manifests/-bad HTTP/1.1',
      'Host: a',
      'Content-Length: 8',
      '',
      '{"a":1}\nGET /v2/ HTTP/1.1',
      'Host: a',
      '',
      ''
    )
    assert.match(await until(/HTTP\/1.1 200/), /^HTTP\/1.1 400/)
    socket.destroy()
  })

  for (const [what, size] of [
    ['a short', 200_000],
    ['a long', 24 * 1024 * 1024]
  ] as const) {
    it(`refuse in the midst of ${what} body so that a client hears why, whatever it does next`, async () => {
      const wrong = withQuery(await client.begin('app'), `digest=${digestOf('other')}`)
      const tooLarge = '/v2/app/manifests/large'
      for (const [target, status] of [
        [wrong, 400],
        [tooLarge, size > 4 * 1024 * 1024 ? 413 : 400]
      ] as const) {
        const { socket, closed, until, text } = raw(
          `PUT ${target} HTTP/1.1`,
          'Host: a',
          'Transfer-Encoding: chunked',
          '',
          ''
        )
        let reset: Error | undefined
        socket.on('error', (error) => (reset = error))
        const piece = Buffer.concat([Buffer.from('8000\r\n'), Buffer.alloc(0x8000, 'x'), Buffer.from('\r\n')])
        for (let sent = 0; sent < size && !socket.destroyed; sent += 0x8000)
          if (!socket.write(piece)) await Promise.race([once(socket, 'drain'), closed])
        socket.write('0\r\n\r\n')
        socket.write('GET /v2/ HTTP/1.1\r\nHost: a\r\n\r\n')
        await until(/\}$/)
        if (/Connection: close/i.test(text())) await closed
        else await until(/HTTP\/1.1 200/)
        socket.destroy()
        assert.match(text(), new RegExp(`^HTTP/1.1 ${status} `))
        assert.equal(reset, undefined)
      }
    })
  }

  it('answer Expect: 100-continue', async () => {
    const location = await client.begin('app')
    const body = 'expected'
    const { socket, until } = raw(
      `PUT ${withQuery(location, `digest=${digestOf(body)}`)} HTTP/1.1`,
      'Host: a',
      'Expect: 100-continue',
      `Content-Length: ${body.length}`,
      '',
      ''
    )
    await until(/^HTTP\/1.1 100/)
    socket.write(body)
    await until(/HTTP\/1.1 201/)
    socket.destroy()
  })

  it('refuse TLS at once', async () => {
    const [error, took] = await seconds(
      new Promise<Error>((resolve, reject) => {
        const socket = tlsConnect({ host: '127.0.0.1', port: server.port, rejectUnauthorized: false })
        socket.on('error', resolve)
        socket.on('secureConnect', () => reject(new Error('it spoke TLS')))
      })
    )
    assert.match(error.message, /wrong version number|packet length|EPROTO|SSL/)
    assert.ok(took < 0.3, `${took} s`)
  })

  const malformed: Record<string, string[]> = {
    'Content-Length with Transfer-Encoding': [
      'POST /v2/app/blobs/uploads/ HTTP/1.1',
      'Host: a',
      'Content-Length: 3',
      'Transfer-Encoding: chunked',
      '',
      '3\r\nabc\r\n0\r\n\r\n'
    ],
    'two Content-Lengths': [
      'POST /v2/app/blobs/uploads/ HTTP/1.1',
      'Host: a',
      'Content-Length: 3',
      'Content-Length: 4',
      '',
      'abc'
    ],
    'a Content-Length that is no number': ['POST /v2/ HTTP/1.1', 'Host: a', 'Content-Length: x', '', ''],
    'a negative Content-Length': ['POST /v2/ HTTP/1.1', 'Host: a', 'Content-Length: -1', '', ''],
    'Transfer-Encoding that is not chunked last': [
      'POST /v2/ HTTP/1.1',
      'Host: a',
      'Transfer-Encoding: chunked, gzip',
      '',
      ''
    ],
    'a header without a colon': ['GET /v2/ HTTP/1.1', 'Host: a', 'nonsense', '', ''],
    'a header with a space before its colon': ['GET /v2/ HTTP/1.1', 'Host: a', 'Content-Length : 0', '', ''],
    'a NUL in a header': ['GET /v2/ HTTP/1.1', 'Host: a', 'X: a\0b', '', ''],
    'no Host': ['GET /v2/ HTTP/1.1', '', ''],
    'a method that is none': ['FROB /v2/ HTTP/1.1', 'Host: a', '', ''],
    'a space in the path': ['GET /v2/a b/tags/list HTTP/1.1', 'Host: a', '', ''],
    'a target that is no URL': ['GET http://[bad/v2/ HTTP/1.1', 'Host: a', 'Connection: close', '', ''],
    'a target with a host that is none': [
      'GET http://xn--/v2/ HTTP/1.1',
      'Host: a',
      'Connection: close',
      '',
      ''
    ],
    'another protocol': ['SSH-2.0-OpenSSH_9.6', '', ''],
    'HTTP/2': ['PRI * HTTP/2.0', '', 'SM', '', '']
  }
  for (const [what, lines] of Object.entries(malformed)) {
    it(`refuse ${what}`, async () => {
      const [text, took] = await seconds(raw(...lines).closed)
      assert.match(text, /^HTTP\/1.1 400 /)
      assert.ok(took < 0.5, `${took} s`)
    })
  }

  for (const bytes of [
    'zz\r\nabc\r\n',
    '3\r\nabcdef\r\n',
    '-3\r\nabc\r\n',
    'fffffffffffffffff\r\nabc\r\n',
    '3 3\r\nabc\r\n'
  ]) {
    it(`refuse the bad chunk ${JSON.stringify(bytes)}, and keep nothing that looks complete`, async () => {
      const location = await client.begin('app')
      const { closed } = raw(
        `PUT ${withQuery(location, `digest=${digestOf('abc')}`)} HTTP/1.1`,
        'Host: a',
        'Transfer-Encoding: chunked',
        '',
        bytes
      )
      const text = await closed
      assert.ok(!/^HTTP\/1.1 (?!400)/m.test(text), text)
      await client.expect(404, 'HEAD', `/v2/app/blobs/${digestOf('abc')}`)
    })
  }

  it('refuse headers that are too long', async () => {
    const text = await raw('GET /v2/ HTTP/1.1', 'Host: a', `X: ${'x'.repeat(20_000)}`, '', '').closed
    assert.match(text, /^HTTP\/1.1 431 [^]*REQUEST_TOO_LARGE/)
    const long = await raw(`GET /v2/${'a/'.repeat(10_000)} HTTP/1.1`, 'Host: a', '', '').closed
    assert.match(long, /^HTTP\/1.1 431 /)
  })

  it('time out on headers that do not end', async () => {
    const { socket, closed } = raw('GET /v2/ HTTP/1.1', 'Host: a', '')
    const drip = setInterval(() => socket.write('X-Drip: 1\r\n'), 100)
    const [text, took] = await seconds(closed)
    clearInterval(drip)
    assert.match(text, /^HTTP\/1.1 408 [^]*REQUEST_TIMEOUT/)
    assert.ok(took < (IDLE / 1000) * 3, `${took} s`)
  })

  for (const [what, every] of Object.entries({ stops: 0, drips: 50 })) {
    it(`time out on a body that ${what}, and keep the upload`, async () => {
      const location = await client.begin('app')
      const { socket, closed } = raw(
        `PATCH ${location} HTTP/1.1`,
        'Host: a',
        'Content-Length: 100000',
        '',
        'abc'
      )
      const drip = every === 0 ? undefined : setInterval(() => socket.write('x'), every)
      const [text, took] = await seconds(closed)
      clearInterval(drip)
      assert.match(text, /^HTTP\/1.1 408 [^]*REQUEST_TIMEOUT/)
      assert.ok(took < (IDLE / 1000) * 3, `${took} s`)
      const status = await client.expect(204, 'GET', location)
      assert.match(String(status.headers.range), /^0-[1-9]/)
    })
  }

  it('time out on a manifest that drips', async () => {
    const { socket, closed } = raw(
      'PUT /v2/app/manifests/1 HTTP/1.1',
      'Host: a',
      'Content-Length: 100000',
      '',
      '{'
    )
    const drip = setInterval(() => socket.write(' '), 50)
    const text = await closed
    clearInterval(drip)
    assert.match(text, /^HTTP\/1.1 408 /)
  })

  for (const [what, lines] of Object.entries({
    'one that nobody wants': ['GET /v2/ HTTP/1.1', 'Host: a', 'Content-Length: 60000', '', 'x'],
    'one of unknown length': ['GET /v2/ HTTP/1.1', 'Host: a', 'Transfer-Encoding: chunked', '', '1\r\nx\r\n'],
    'one that was refused': [
      'PUT /v2/app/manifests/.bad HTTP/1.1',
      'Host: a',
      'Content-Length: 60000',
      '',
      '{'
    ]
  })) {
    it(`end a body that goes on dripping after the answer: ${what}`, async () => {
      const { socket, closed } = raw(...lines)
      const chunked = lines.includes('Transfer-Encoding: chunked')
      const drip = setInterval(() => socket.write(chunked ? '1\r\nx\r\n' : 'x'), 50)
      assert.match(await closed, /^HTTP\/1.1 [24]0/)
      clearInterval(drip)
    })
  }

  it('refuse manifests beyond those that there is memory for', async () => {
    const size = 4 * 1024 * 1024
    const head = `PUT /v2/app/manifests/big HTTP/1.1\r\nHost: a\r\nContent-Length: ${size}\r\n\r\n`
    const body = ' '.repeat(size - 10)
    const patient = await startRegistryServer()
    try {
      const senders = Array.from({ length: 17 }, () => rawConnection(patient, head + body))
      const refused = await Promise.any(senders.map(({ until }) => until(/HTTP\/1.1 503 [^]*UNAVAILABLE/)))
      assert.match(refused, /retry-after: 1/i)
      for (const { socket } of senders) socket.destroy()
      await Promise.all(senders.map(({ closed }) => closed))
      const after = rawConnection(patient, `${head}${body}${' '.repeat(10)}`)
      await after.until(/^HTTP\/1.1 400 /)
      after.socket.destroy()
    } finally {
      await patient.stop()
    }
  })

  it('do not count the time in which a manifest comes as a wait for others', async () => {
    const slow = await startRegistryServer({ pullTimeoutMs: 400 })
    try {
      const bytes = JSON.stringify({ slow: 'manifest' })
      const { socket, until } = rawConnection(
        slow,
        `PUT /v2/slow/manifests/1 HTTP/1.1\r\nHost: a\r\nContent-Type: application/vnd.example.slow+json\r\nContent-Length: ${bytes.length}\r\n\r\n`
      )
      for (const byte of bytes) {
        socket.write(byte)
        await new Promise((wait) => setTimeout(wait, 40))
      }
      await until(/^HTTP\/1.1 201/)
      socket.destroy()
    } finally {
      await slow.stop()
    }
  })

  it('let a body take its time that comes slowly but comes', async () => {
    const location = await client.begin('app')
    const { socket, until } = raw(`PATCH ${location} HTTP/1.1`, 'Host: a', 'Content-Length: 20000', '', '')
    for (let i = 0; i < 20; i++) {
      socket.write('x'.repeat(1000))
      await new Promise((wait) => setTimeout(wait, 120))
    }
    await until(/^HTTP\/1.1 202/)
    socket.destroy()
  })

  it('end when nothing moves on them', async () => {
    const [text, took] = await seconds(raw().closed)
    assert.doesNotMatch(text, /^HTTP\/1.1 2/)
    assert.ok(took < (IDLE / 1000) * 3, `${took} s`)
  })

  it('wait for an answer that takes long to begin', async () => {
    const slow = await startRegistryServer({ idleMs: 300, pullTimeoutMs: 1500 })
    try {
      slow.dns.behave('*', { drop: true })
      const { closed } = rawConnection(
        slow,
        'GET /v2/slow.example/app/manifests/1 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n'
      )
      assert.match(await closed, /^HTTP\/1.1 50[24] /)
    } finally {
      await slow.stop()
    }
  })

  it('that are dropped leave the server as it was', async () => {
    for (let i = 0; i < 50; i++) {
      const { socket } = raw(`GET ${path} HTTP/1.1`, 'Host: a', '', '')
      setTimeout(() => reset(socket), i % 10)
    }
    await new Promise((wait) => setTimeout(wait, 50))
    await client.expect(200, 'GET', path)
  })
})
