/** A reverse proxy with TLS, HTTP/2 and a certificate authority of its own, as operators put in front of a gateway. */
import { readFile } from 'node:fs/promises'
import { request } from 'node:http'
import { createSecureServer, type ServerHttp2Session } from 'node:http2'
import type { AddressInfo } from 'node:net'
import { pipeline } from 'node:stream/promises'
import { makeCertificate } from './authority.ts'

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
  const { ca, key, cert } = await makeCertificate(dir)
  const sessions = new Set<ServerHttp2Session>()
  const asked: string[] = []
  let passed = 0
  const server = createSecureServer(
    { key: await readFile(key), cert: await readFile(cert), allowHTTP1: true },
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
    ca,
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
