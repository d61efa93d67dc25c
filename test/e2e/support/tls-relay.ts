/** A reverse proxy with TLS, HTTP/2 and a certificate authority of its own, as operators put in front of a gateway. */
import { mkdir, readFile } from 'node:fs/promises'
import { request } from 'node:http'
import { createSecureServer, type ServerHttp2Session } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { run } from './process.ts'

/** A proxy that listens. */
export interface TlsRelay {
  readonly port: number
  /** The file with the authority's certificate, for whoever is to trust it. */
  readonly ca: string
  /** What was asked of it. */
  readonly asked: string[]
  /** Bytes of bodies that it has passed on. */
  readonly passed: number
  stop(): Promise<void>
}

/** Makes an authority and a certificate for 127.0.0.1 and localhost in `dir`, and passes requests on to `target`. */
export async function startTlsRelay(options: { dir: string; target: string }): Promise<TlsRelay> {
  const { dir, target } = options
  await mkdir(dir, { recursive: true })
  const openssl = (name: string, subject: string, ...args: string[]) => {
    const key = [
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-noenc',
      '-keyout',
      `${name}.key`
    ]
    const out = ['-out', `${name}.pem`, '-subj', `/CN=${subject}`, '-days', '2']
    return run('openssl', ['req', '-x509', ...key, ...out, ...args], { cwd: dir })
  }
  await openssl('ca', 'test authority')
  const names = [
    '-addext',
    'subjectAltName=DNS:localhost,IP:127.0.0.1',
    '-addext',
    'basicConstraints=critical,CA:FALSE'
  ]
  await openssl('own', 'localhost', '-CA', 'ca.pem', '-CAkey', 'ca.key', ...names)

  const sessions = new Set<ServerHttp2Session>()
  const asked: string[] = []
  let passed = 0
  const file = (name: string): Promise<Buffer> => readFile(join(dir, name))
  const server = createSecureServer(
    { key: await file('own.key'), cert: await file('own.pem'), allowHTTP1: true },
    ({ method, url, headers }, answer) => {
      asked.push(`${method} ${url}`)
      const kept = Object.entries(headers).filter(([name]) => !name.startsWith(':') && name !== 'connection')
      const onward = request(new URL(url, target), { method, headers: Object.fromEntries(kept) }, (given) => {
        const { connection: _, 'keep-alive': __, 'transfer-encoding': ___, ...rest } = given.headers
        answer.writeHead(given.statusCode ?? 502, rest)
        given.on('data', (chunk: Buffer) => {
          passed += chunk.length
        })
        pipeline(given, answer).catch(() => answer.stream?.close())
      })
      onward.on('error', () => answer.writeHead(502).end())
      onward.end()
    }
  )
  server.on('session', (session) => {
    sessions.add(session)
    session.on('close', () => sessions.delete(session))
    session.on('error', () => {}) // whoever doesn't trust us, or goes away
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    port: (server.address() as AddressInfo).port,
    ca: join(dir, 'ca.pem'),
    asked,
    get passed() {
      return passed
    },
    async stop() {
      for (const session of sessions) session.destroy()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    }
  }
}
