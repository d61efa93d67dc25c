import http, { type Agent, type IncomingMessage } from 'node:http'
import https from 'node:https'
import type { Multiaddr } from '@multiformats/multiaddr'
import type { CID } from 'multiformats/cid'
import { certificateFault } from './certificate-fault.ts'
import { chunksOf } from './chunks.ts'
import type { DialPolicy } from './policy.ts'
import { PeerBusy, PeerFault } from './wants.ts'
import type { OpenWire } from './wire.ts'

/** A trustless gateway that can be asked for CARs. */
export interface Gateway {
  /** For messages and logs: an address, or a peer. */
  name: string
  /** The id of the peer behind it, or its address where that names none. */
  source: string
  /** A connection to it, for any number of {@link Gateway.request}s one after another. */
  connect: OpenWire
  /**
   * What to send for the blocks of a file from byte `from` on, up to but without byte `to`, as a CARv1 with
   * the root first and in document order.
   *
   * @see https://specs.ipfs.tech/http-gateways/trustless-gateway/#entity-bytes-request-query-parameter
   */
  request(file: CID, from: number, to: number): string
  /**
   * The blocks from `root` along `names`, the last one included, as the bytes of a CARv1; `undefined` when
   * the gateway says that it has no such path, which proves nothing.
   *
   * @throws PeerBusy when it says when it may be asked again, PeerFault for any other answer.
   */
  openPath(
    root: CID,
    names: readonly string[],
    signal: AbortSignal
  ): Promise<AsyncIterable<Uint8Array> | undefined>
}

/** The media type of CARs. */
export const CAR = 'application/vnd.ipld.car'
const ACCEPT = `${CAR}; version=1; order=dfs; dups=y`

/** Longer than this nobody's wish to be left alone counts, and whoever says 'at once' isn't asked in a tight loop. */
const MOST_RETRY_MS = 30_000
const LEAST_RETRY_MS = 100

/**
 * The milliseconds for which a 503 asks to be left alone, or `undefined` where it isn't one or doesn't say.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#field.retry-after
 */
export function retryAfter(status: number | undefined, value: string | undefined): number | undefined {
  if (status !== 503 || value === undefined || !/^\d{1,6}$/.test(value)) return undefined
  return Math.min(MOST_RETRY_MS, Math.max(LEAST_RETRY_MS, Number(value) * 1000))
}

/** How requests reach a gateway. */
export interface GatewayOptions {
  name: string
  source: string
  base: URL
  agent: Agent
  lookup?: DialPolicy['lookup']
  /** For the answer's head. */
  headMs: number
  connect: OpenWire
}

/** A gateway behind an agent; redirects aren't followed, since they could lead anywhere. */
export function createGateway(options: GatewayOptions): Gateway {
  const { name, source, base, agent, lookup, headMs, connect } = options

  async function car(path: string, signal: AbortSignal): Promise<IncomingMessage> {
    const answer = await head(new URL(path, base), { agent, lookup, signal, headMs })
    const type = answer.headers['content-type'] ?? 'nothing'
    if (answer.statusCode === 404 || (answer.statusCode === 200 && type.startsWith(CAR))) return answer
    answer.destroy()
    const retryMs = retryAfter(answer.statusCode, answer.headers['retry-after'])
    if (retryMs !== undefined) throw new PeerBusy(retryMs)
    throw new PeerFault(`answered ${answer.statusCode} with ${type.slice(0, 80)}, not with a CAR`)
  }

  return {
    name,
    source,
    connect,

    request(file, from, to) {
      const end = Number.isFinite(to) ? to - 1 : '*'
      const range = from > 0 || end !== '*' ? `&entity-bytes=${from}:${end}` : ''
      const target = `/ipfs/${file.toString()}?format=car&dag-scope=entity${range}`
      return `GET ${target} HTTP/1.1\r\nHost: ${base.host}\r\nAccept: ${ACCEPT}\r\n\r\n`
    },

    async openPath(root, names, signal) {
      const path = [root.toString(), ...names.map(encodeURIComponent)].join('/')
      const answer = await car(`/ipfs/${path}?format=car&dag-scope=block`, signal)
      if (answer.statusCode === 200) return chunksOf(answer)
      answer.resume()
      return undefined
    }
  }
}

/**
 * The answer to a GET as soon as its head is there. The request isn't given the signal itself: an abort in
 * the moment in which a finished answer hands its connection back to the agent would be an error that
 * nobody listens for.
 */
function head(
  url: URL,
  options: Pick<GatewayOptions, 'agent' | 'lookup' | 'headMs'> & { signal: AbortSignal }
): Promise<IncomingMessage> {
  const { agent, lookup, headMs, signal } = options
  return new Promise((resolve, reject) => {
    if (signal.aborted) return reject(signal.reason as Error)
    const request = (url.protocol === 'https:' ? https : http).get(url, {
      agent,
      lookup,
      headers: { accept: ACCEPT }
    })
    const giveUp = (why: Error) => {
      reject(why)
      request.destroy()
    }
    const onAbort = () => giveUp(signal.reason as Error)
    const late = () => giveUp(new PeerFault(`didn't answer for ${headMs} ms`, { timeout: true }))
    const timer = setTimeout(late, headMs)
    signal.addEventListener('abort', onAbort)
    const done = () => {
      clearTimeout(timer)
      signal.removeEventListener('abort', onAbort)
    }
    request.on('error', (error) => {
      done()
      reject(certificateFault(error))
    })
    request.once('close', done)
    request.once('response', (answer) => {
      done()
      const close = () => answer.destroy()
      signal.addEventListener('abort', close)
      answer.once('close', () => signal.removeEventListener('abort', close))
      // whoever reads the body sees its errors; those that come later are nobody's
      answer.on('error', () => {})
      resolve(answer)
    })
    return undefined
  })
}

/** The origin that a multiaddr ending in `/http` or `/https` stands for, or `undefined` for any other. */
export function originOf(address: Multiaddr): URL | undefined {
  const parts = address.getComponents().filter(({ name }) => name !== 'p2p')
  const [host, port] = parts
  const last = parts.at(-1)?.name
  if (host?.value === undefined || port?.name !== 'tcp' || (last !== 'http' && last !== 'https'))
    return undefined
  if (!['ip4', 'ip6', 'dns', 'dns4', 'dns6'].includes(host.name)) return undefined
  const secure = last === 'https' || parts.some(({ name }) => name === 'tls')
  const name = host.name === 'ip6' ? `[${host.value}]` : host.value
  const text = `${secure ? 'https' : 'http'}://${name}:${port.value}`
  return URL.canParse(text) ? new URL(text) : undefined
}
