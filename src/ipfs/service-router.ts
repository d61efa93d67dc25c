import type { PeerId } from '@libp2p/interface'
import { peerIdFromCID, peerIdFromString } from '@libp2p/peer-id'
import { multiaddr } from '@multiformats/multiaddr'
import { CID } from 'multiformats/cid'
import { MAX_RECORD } from './name-records.ts'
import { type Found, found, type Router } from './routers.ts'

/** How much of an answer about providers is read, in bytes: some thousand peers. */
const MAX_ANSWER = 1024 * 1024

const RECORD_TYPE = 'application/vnd.ipfs.ipns-record'

/**
 * A service that is asked over HTTP. The service is the operator's choice, and where it would send us isn't: redirects are
 * not followed. What it answers is read up to a limit, and checked by whoever uses it.
 *
 * @param timeoutMs for a whole answer
 * @see https://specs.ipfs.tech/routing/http-routing-v1/
 */
export function serviceRouter(url: string, timeoutMs: number): Router {
  const base = url.endsWith('/') ? url : `${url}/`

  async function ask(path: string, init: RequestInit, signal: AbortSignal): Promise<Response> {
    const within = AbortSignal.any([signal, AbortSignal.timeout(timeoutMs)])
    // paths are written behind it as it is
    const answer = await fetch(`${base}routing/v1/${path}`, { ...init, redirect: 'manual', signal: within })
    if (answer.status >= 300 && answer.status < 400)
      throw new Error('it redirects, which is not followed: name the service that it leads to')
    if (answer.status !== 200 && answer.status !== 404) throw new Error(`it answers ${answer.status}`)
    return answer
  }

  return {
    name: url,

    async *find(cid, signal) {
      const done = new AbortController()
      try {
        const headers = { accept: 'application/x-ndjson, application/json;q=0.8' }
        const answer = await ask(`providers/${cid}`, { headers }, AbortSignal.any([signal, done.signal]))
        if (answer.status === 404) return // as services said "nobody" before IPIP-513
        const type = typeOf(answer)
        if (type.startsWith('application/x-ndjson')) {
          for await (const line of linesOf(answer)) yield* peerIn(JSON.parse(line), url)
        } else if (type.startsWith('application/json')) {
          const { Providers } = JSON.parse((await all(answer, MAX_ANSWER)).toString()) as {
            Providers?: unknown
          }
          for (const one of Array.isArray(Providers) ? Providers : []) yield* peerIn(one, url)
        } else throw new Error(`it answers with '${type.slice(0, 100)}'`)
      } finally {
        done.abort(new Error('no more is wanted'))
      }
    },

    async *records(of, signal) {
      const answer = await ask(`ipns/${of}`, { headers: { accept: RECORD_TYPE } }, signal)
      // anything else than a record says that there is none
      if (answer.status === 200 && typeOf(answer).startsWith(RECORD_TYPE))
        yield { by: url, bytes: await all(answer, MAX_RECORD) }
      else await answer.body?.cancel()
    },

    async putRecord(of, bytes, signal) {
      const headers = { 'content-type': RECORD_TYPE }
      const answer = await ask(`ipns/${of}`, { method: 'PUT', headers, body: Buffer.from(bytes) }, signal)
      await answer.body?.cancel()
      if (answer.status !== 200) throw new Error(`it answers ${answer.status}`)
    },

    stop: async () => {}
  }
}

const typeOf = (answer: Response): string => answer.headers.get('content-type')?.toLowerCase() ?? ''

async function* chunksIn(answer: Response, limit: number): AsyncGenerator<Uint8Array> {
  let size = 0
  for await (const chunk of answer.body ?? []) {
    size += (chunk as Uint8Array).length
    if (size > limit) throw new Error(`it answers with more than ${limit} bytes`)
    yield chunk as Uint8Array
  }
}

async function all(answer: Response, limit: number): Promise<Buffer> {
  const chunks: Uint8Array[] = []
  for await (const chunk of chunksIn(answer, limit)) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** The lines that hold anything, as they come. */
async function* linesOf(answer: Response): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let begun = ''
  for await (const chunk of chunksIn(answer, MAX_ANSWER)) {
    const lines = (begun + decoder.decode(chunk, { stream: true })).split('\n')
    begun = lines.pop() ?? ''
    yield* lines.filter((line) => line.trim() !== '')
  }
  if (begun.trim() !== '') yield begun
}

/** The peer of a record; none where it is of a kind that isn't known, or malformed. */
function* peerIn(record: unknown, by: string): Generator<Found> {
  const { ID, Addrs } = (record ?? {}) as { ID?: unknown; Addrs?: unknown }
  const peer = typeof ID === 'string' ? peerOf(ID) : undefined
  if (peer !== undefined) yield found(peer, (Array.isArray(Addrs) ? Addrs : []).filter(isAddress), by)
}

function peerOf(id: string): PeerId | undefined {
  try {
    return /^[1Q]/.test(id) ? peerIdFromString(id) : peerIdFromCID(CID.parse(id))
  } catch {
    return undefined
  }
}

function isAddress(text: unknown): text is string {
  try {
    return typeof text === 'string' && multiaddr(text) !== undefined
  } catch {
    return false
  }
}
