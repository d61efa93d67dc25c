import { Agent, type Server } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Connection, Libp2p, PeerId, Stream } from '@libp2p/interface'
import { StreamSocket } from './stream-socket.ts'
import { type OpenWire, openStream } from './wire.ts'

/**
 * HTTP over a libp2p stream, as Kubo's gateway-over-libp2p speaks it.
 *
 * @see https://github.com/libp2p/specs/blob/master/http/README.md
 */
export const HTTP_PROTOCOL = '/http/1.1'

/** Over a relay that limits what a connection carries there may still be enough of it for what is small. */
const RELAYED = { runOnLimitedConnection: true }

/** Streams that one peer may have open at a time. */
const MAX_STREAMS = 256

/**
 * Hands every stream of the protocol to `server`, which needn't listen anywhere. What is served this way
 * is public to every peer that can connect.
 *
 * @returns the way to stop.
 */
export async function serveHttp(libp2p: Libp2p, server: Server): Promise<() => Promise<void>> {
  await libp2p.handle(
    HTTP_PROTOCOL,
    (stream, connection) => void server.emit('connection', new StreamSocket(stream, connection)),
    { maxInboundStreams: MAX_STREAMS, ...RELAYED }
  )
  return () => libp2p.unhandle(HTTP_PROTOCOL)
}

async function newStream(
  libp2p: Libp2p,
  peer: PeerId,
  signal: AbortSignal
): Promise<{ stream: Stream; connection: Connection }> {
  const connection = await libp2p.dial(peer, { signal })
  const stream = await connection.newStream(HTTP_PROTOCOL, {
    signal,
    maxOutboundStreams: MAX_STREAMS,
    ...RELAYED
  })
  return { stream, connection }
}

/** Opens such streams to `peer`, dialled if need be. */
export function openPeer(libp2p: Libp2p, peer: PeerId): OpenWire {
  return openStream(async (signal) => (await newStream(libp2p, peer, signal)).stream)
}

/** An agent whose connections are streams to `peer`, dialled if need be; for `node:http` requests. */
export function httpAgentFor(libp2p: Libp2p, peer: PeerId, dialMs: number): Agent {
  const agent = new Agent({ keepAlive: false })
  async function open(): Promise<Duplex> {
    const { stream, connection } = await newStream(libp2p, peer, AbortSignal.timeout(dialMs))
    return new StreamSocket(stream, connection)
  }
  agent.createConnection = (_, callback) => {
    void (async () => {
      try {
        callback?.(null, await open())
      } catch (error) {
        callback?.(error as Error, undefined as unknown as Duplex)
      }
    })()
    return undefined
  }
  return agent
}
