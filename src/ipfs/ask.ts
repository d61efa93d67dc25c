import http, { Agent, type IncomingMessage } from 'node:http'
import https from 'node:https'
import { setTimeout as delay } from 'node:timers/promises'
import type { Libp2p, PeerId } from '@libp2p/interface'
import { multiaddr } from '@multiformats/multiaddr'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import { originOf, retryAfter } from './gateway.ts'
import { httpAgentFor } from './http-stream.ts'
import type { DialPolicy } from './policy.ts'
import { PeerBusy } from './wants.ts'

/** A small answer of a peer's gateway; nothing about it is checked. */
export interface SmallAnswer {
  /** The address or the peer that gave it. */
  readonly from: string
  readonly bytes: Uint8Array
}

/** What is asked for. */
export interface SmallQuestion {
  /** `/ipns/<name>?format=ipns-record` */
  readonly path: string
  readonly accept: string
  /** Longer answers are cut off, and count as none. */
  readonly maxBytes: number
  readonly signal: AbortSignal
}

/** How many peers are asked at most. */
const MAX_PEERS = 16

/**
 * Asks the HTTP gateways of peers (plain HTTP where an address says so, else over a libp2p stream) for
 * something small, all at once; answers come as they arrive, whoever is busy is asked again when it says so, and
 * whoever fails is passed over.
 */
export function createAsk(options: {
  libp2p: Libp2p
  policy: DialPolicy
  connect: (addresses: readonly string[], signal: AbortSignal) => Promise<PeerId[]>
  dialMs: number
  log: Log
}): (addresses: readonly string[], question: SmallQuestion) => AsyncGenerator<SmallAnswer> {
  const { libp2p, policy, log } = options

  function overHttp(address: string, base: URL, question: SmallQuestion): Promise<SmallAnswer> {
    const refused = policy.urlRefusal(base)
    if (refused !== undefined) return Promise.reject(new Error(refused))
    return get(address, base, question, { lookup: policy.lookup })
  }

  async function overStream(address: string, question: SmallQuestion): Promise<SmallAnswer> {
    const [peer] = await options.connect([address], question.signal)
    if (peer === undefined) throw new Error('nobody is there')
    const agent = httpAgentFor(libp2p, peer, options.dialMs)
    return get(address, new URL('http://gateway.invalid'), question, { agent })
  }

  return async function* ask(addresses, question) {
    const asked = new Map<string, Promise<{ key: string; answer: SmallAnswer | undefined }>>()
    const streams = new Set<string>()
    for (const address of addresses.slice(0, MAX_PEERS)) {
      const base = originOf(multiaddr(address))
      const peer = /\/p2p\/([^/]+)$/.exec(address)?.[1] ?? address
      // one stream a peer will do, at whichever of its addresses it is reached
      if (
        base === undefined &&
        streams.has(peer) &&
        libp2p.getConnections().some((one) => one.remotePeer.toString() === peer)
      )
        continue
      if (base === undefined) streams.add(peer)
      const answer = base === undefined ? overStream(address, question) : overHttp(address, base, question)
      asked.set(
        address,
        answer.then(
          (found) => ({ key: address, answer: found }),
          (error: unknown) => {
            log.debug({ address, path: question.path, cause: reason(error) }, 'no small answer')
            return { key: address, answer: undefined }
          }
        )
      )
    }
    while (asked.size > 0) {
      const { key, answer } = await Promise.race(asked.values())
      asked.delete(key)
      if (answer !== undefined) yield answer
      question.signal.throwIfAborted()
    }
  }
}

/** How a request gets to its peer. */
interface How {
  agent?: Agent
  lookup?: DialPolicy['lookup']
}

/** Asks until the peer isn't busy any more; the question's signal says for how long. */
async function get(from: string, base: URL, question: SmallQuestion, how: How): Promise<SmallAnswer> {
  for (;;) {
    try {
      return await getOnce(from, base, question, how)
    } catch (error) {
      if (!(error instanceof PeerBusy)) throw error
      await delay(error.retryMs, undefined, { signal: question.signal })
    }
  }
}

function getOnce(from: string, base: URL, question: SmallQuestion, how: How): Promise<SmallAnswer> {
  const { signal, maxBytes } = question
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error)
    const agent =
      how.agent ?? (base.protocol === 'https:' ? https.globalAgent : new Agent({ keepAlive: false }))
    const request = (base.protocol === 'https:' ? https : http).get(new URL(question.path, base), {
      agent,
      lookup: how.lookup,
      headers: { accept: question.accept }
    })
    const leave = (): void => {
      reject(signal.reason as Error)
      request.destroy()
    }
    signal.addEventListener('abort', leave, { once: true })
    request.once('close', () => signal.removeEventListener('abort', leave))
    request.on('error', reject)
    request.once('response', (answer: IncomingMessage) => {
      const chunks: Buffer[] = []
      let size = 0
      answer.on('error', reject)
      answer.on('data', (chunk: Buffer) => {
        size += chunk.length
        chunks.push(chunk)
        if (size > maxBytes) request.destroy(new Error(`its answer is longer than ${maxBytes} bytes`))
      })
      answer.on('end', () => {
        const type = answer.headers['content-type'] ?? ''
        const retryMs = retryAfter(answer.statusCode, answer.headers['retry-after'])
        if (retryMs !== undefined) reject(new PeerBusy(retryMs))
        else if (answer.statusCode === 200 && type.startsWith(question.accept))
          resolve({ from, bytes: Buffer.concat(chunks) })
        else reject(new Error(`answered ${answer.statusCode} with ${type.slice(0, 80)}`))
      })
    })
    return undefined
  })
}
