import type { Server as HttpServer } from 'node:http'
import { createServer, type Server, type Socket } from 'node:net'
import { createServer as createTlsServer, type TLSSocket } from 'node:tls'
import type { Log } from '../log.ts'
import type { Identity } from '../tls/index.ts'
import type { Http2 } from './http2.ts'

/** The protocol by which an authority looks whether this server is who it says. @see https://www.rfc-editor.org/rfc/rfc8737 */
const ACME_TLS = 'acme-tls/1'

/** The first byte of a TLS connection. */
const HANDSHAKE = 0x16

/**
 * For TLS 1.2: forward secrecy and authenticated encryption only; those of TLS 1.3 are all good. The client chooses,
 * which knows what its processor is good at.
 *
 * @see https://wiki.mozilla.org/Security/Server_Side_TLS (intermediate)
 */
const CIPHERS = [
  'TLS_AES_128_GCM_SHA256',
  'TLS_AES_256_GCM_SHA384',
  'TLS_CHACHA20_POLY1305_SHA256',
  'ECDHE-ECDSA-AES128-GCM-SHA256',
  'ECDHE-RSA-AES128-GCM-SHA256',
  'ECDHE-ECDSA-AES256-GCM-SHA384',
  'ECDHE-RSA-AES256-GCM-SHA384',
  'ECDHE-ECDSA-CHACHA20-POLY1305',
  'ECDHE-RSA-CHACHA20-POLY1305'
].join(':')

/** Where connections go once they are known. */
export interface Behind {
  readonly http: HttpServer
  readonly http2: Http2
  /** Answers one that speaks no TLS, and closes it. */
  refuse(socket: Socket): void
}

/** A server that takes connections for others. */
export interface Front {
  readonly server: Server
  /** Ends every connection. */
  closeAll(): void
}

/**
 * The front of a TLS port: it makes each connection a secure one and hands it to the server for its protocol. One
 * whose first byte isn't that of TLS is refused in plain HTTP, so that whoever forgot the `https` hears of it.
 * Connections that are made from the moment when another certificate is in use get that one; those before go on.
 */
export function secureFront(
  identity: Identity,
  { http, http2, refuse }: Behind,
  { handshakeMs, log }: { handshakeMs: number; log: Log }
): Front {
  const common = { minVersion: 'TLSv1.2', ciphers: CIPHERS, honorCipherOrder: false } as const
  const secure = createTlsServer({
    ...common,
    ...pem(identity),
    handshakeTimeout: handshakeMs,
    ALPNCallback(
      this: TLSSocket,
      { servername, protocols }: { servername: string | false; protocols: string[] }
    ) {
      if (protocols.includes(ACME_TLS)) {
        const proof = identity.alpnProof(servername || '') // not every client names one
        if (proof === undefined) return undefined
        this.setKeyCert(proof.context)
        return ACME_TLS
      }
      return ['h2', 'http/1.1'].find((protocol) => protocols.includes(protocol))
    }
  })
  identity.onChange(() => secure.setSecureContext({ ...common, ...pem(identity) }))
  secure.on('tlsClientError', (error, socket) => {
    log.debug({ cause: error.message }, 'no TLS connection came about')
    socket.destroy() // Node leaves one that took too long
  })
  secure.on('secureConnection', (socket) => {
    if (socket.alpnProtocol === ACME_TLS) {
      socket.on('error', () => socket.destroy())
      socket.end()
    } else (socket.alpnProtocol === 'h2' ? http2.server : http).emit('connection', socket)
  })

  const sockets = new Set<Socket>()
  const server = createServer({ noDelay: true, highWaterMark: 256 * 1024 }, (socket) => {
    sockets.add(socket)
    socket.once('close', () => sockets.delete(socket))
    if (socket.destroyed) return
    const giveUp = () => socket.destroy()
    socket.on('error', giveUp)
    const timer = setTimeout(giveUp, handshakeMs)
    socket.once('close', () => clearTimeout(timer))
    socket.once('data', (first: Buffer) => {
      if (first[0] !== HANDSHAKE) {
        socket.resume() // to its end, which the timer is for
        refuse(socket)
        return
      }
      clearTimeout(timer)
      socket.pause()
      socket.unshift(first)
      secure.emit('connection', socket)
    })
  })
  return {
    server,
    closeAll() {
      for (const socket of sockets) socket.destroy()
    }
  }
}

function pem({ pair }: Identity): { cert?: string; key?: string } {
  return pair === undefined ? {} : { cert: pair.cert, key: pair.key }
}
