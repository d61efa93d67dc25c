import { isAbort, reason } from '../oci/errors.ts'
import { ServerFailure, within } from './failure.ts'
import type { Https, HttpsServer } from './https.ts'
import { extendedError, judge, type Message, makeQuery, makeSealedQuery, type Query } from './message.ts'
import { addressOf, type Server } from './server.ts'
import { exchangeTcp } from './tcp.ts'
import { exchangeUdp, type UdpOutcome } from './udp.ts'

// TCP that only confirms a doubtful UDP answer mustn't hold the query up where port 53 is UDP only.
const CONFIRM_MS = 1500

/**
 * Asks one server for the TXT records of `name` (as from `toDnsName`): over HTTPS where it has a URL, else over
 * UDP with 0x20 and EDNS, over TCP when the answer is truncated or doubtful, without EDNS when the server
 * refuses that. Only answers that settle the question come back: NOERROR and NXDOMAIN.
 *
 * @throws ServerFailure for anything else; the signal's reason when that aborts
 */
export async function askServer(
  server: Server,
  name: string,
  { https, signal }: { https: Https; signal: AbortSignal }
): Promise<Message> {
  if (server.url !== undefined)
    return settled(await askOverHttps({ ...server, url: server.url }, name, { https, signal }))
  const to = { address: await locate(server, signal), port: server.port }
  let message = await askOnce(server, to, name, signal)
  const refusesEdns = message.rcode === 'FORMERR' || message.rcode === 'NOTIMP'
  if (refusesEdns && !server.refusesEdns) {
    server.refusesEdns = true // RFC 6891 section 7: an old server; ask it the old way from now on
    message = await askOnce(server, to, name, signal)
  }
  return settled(message)
}

async function askOverHttps(
  server: HttpsServer,
  name: string,
  { https, signal }: { https: Https; signal: AbortSignal }
): Promise<Message> {
  const query = makeSealedQuery(name)
  const { bytes, age } = await https.post(server, query.bytes, { signal })
  const verdict = judge(bytes, query)
  if (verdict.kind === 'case' && verdict.message !== undefined) return aged(verdict.message, age)
  if (verdict.kind === 'answer') return aged(verdict.message, age)
  if (verdict.kind === 'foreign') throw new ServerFailure('answered another question over HTTPS')
  if (verdict.kind === 'truncated') throw new ServerFailure('truncated its answer over HTTPS')
  throw new ServerFailure(
    `sent a malformed answer over HTTPS${verdict.kind === 'malformed' ? ` (${verdict.why})` : ''}`
  )
}

/** The time that an HTTP cache has had an answer is gone from its TTLs (RFC 8484 section 5.1). */
function aged(message: Message, age: number): Message {
  if (age === 0) return message
  for (const record of [...(message.answers ?? []), ...(message.authorities ?? [])])
    if ('ttl' in record) record.ttl = Math.max(0, (record.ttl ?? 0) - age)
  return message
}

async function askOnce(
  server: Server,
  to: { address: string; port: number },
  name: string,
  signal: AbortSignal
): Promise<Message> {
  const ask = (): Query => makeQuery(name, { mixCase: !server.foldsCase, edns: !server.refusesEdns })
  const outcome = await exchangeUdp(to, ask(), { signal })
  if (outcome.kind === 'truncated' || outcome.kind === 'flooded')
    return (await exchangeTcp(to, ask(), { signal })).message
  const doubtful = outcome.kind === 'case' && !(server.foldsCase && outcome.message)
  return doubtful ? confirm(server, to, ask, signal) : content(outcome)
}

/** The answer over UDP; its case is trusted or has been given up. */
function content(outcome: UdpOutcome): Message {
  if (outcome.kind === 'answer') return outcome.message
  if (outcome.kind === 'case' && outcome.message !== undefined) return outcome.message
  const why = outcome.kind === 'malformed' ? ` (${outcome.why})` : ''
  throw new ServerFailure(`sent a malformed answer${why}`)
}

/**
 * An answer came in the wrong case: forged, or from a server that folds case. TCP cannot be forged from
 * off the path, so its answer counts; where that folds case as well, or TCP isn't served, case is given
 * up for this server and id and port have to do.
 */
async function confirm(
  server: Server,
  to: { address: string; port: number },
  ask: () => Query,
  signal: AbortSignal
): Promise<Message> {
  try {
    const answer = await within(CONFIRM_MS, signal, (limit) => exchangeTcp(to, ask(), { signal: limit }))
    server.foldsCase = !answer.keptCase
    return answer.message
  } catch (error) {
    if (signal.aborted) throw error
    if (!(error instanceof ServerFailure) && !isAbort(error)) throw error
    server.foldsCase = true
    const outcome = await exchangeUdp(to, ask(), { signal })
    if (outcome.kind === 'truncated' || outcome.kind === 'flooded')
      throw new ServerFailure(`truncated its answer over UDP, and over TCP it ${reason(error)}`)
    return content(outcome)
  }
}

/** Refuses answers that settle nothing. */
function settled(message: Message): Message {
  if (message.rcode !== 'NOERROR' && message.rcode !== 'NXDOMAIN') {
    const why = extendedError(message)
    throw new ServerFailure(`answered ${message.rcode}${why === undefined ? '' : ` (${why})`}`)
  }
  const empty = message.rcode === 'NOERROR' && (message.answers?.length ?? 0) === 0
  // a referral: neither the zone's own server nor one that would go and ask it
  if (empty && !message.flag_aa && !message.flag_ra)
    throw new ServerFailure('does not hold this name and does not recurse')
  return message
}

async function locate(server: Server, signal: AbortSignal): Promise<string> {
  try {
    return await addressOf(server, signal)
  } catch (error) {
    if (signal.aborted) throw error
    throw new ServerFailure(`has a name that does not resolve (${reason(error)})`, {
      unreachable: true,
      cause: error
    })
  }
}
