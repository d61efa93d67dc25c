import { type ClientRequest, request } from 'node:http'
import { Agent, request as secureRequest } from 'node:https'
import { setTimeout as sleep } from 'node:timers/promises'
import acme, { type Authorization } from 'acme-client'
import { type KeyPair, readPair } from './pair.ts'

/** How an authority sees that a server is who it says. */
export type ChallengeType = 'http-01' | 'tls-alpn-01'

/** What the authority will look for while it makes up its mind: by token, and by domain. */
export interface Proofs {
  readonly http: Map<string, string>
  readonly alpn: Map<string, KeyPair>
}

/** An authority that issues certificates by ACME. */
export interface Authority {
  /**
   * A certificate for `domains`, with a new key (ECDSA, P-256).
   *
   * @throws Error that says what went wrong, or the signal's reason
   */
  issue(domains: readonly string[], kind: ChallengeType, proofs: Proofs): Promise<KeyPair>
}

/** How long one request to the authority may take, in milliseconds. */
const REQUEST = 30_000

/** What pause is made before the authority is asked again how far it is: at first, and at most, in milliseconds. */
const POLL = { first: 500, most: 10_000 }

/** What the ACME library adds to the settings of its HTTP client. */
interface Defaults {
  signal?: AbortSignal
  timeout?: number
  httpsAgent?: Agent
  transport?: { request: typeof secureRequest }
  acmeSettings: { retryMaxAttempts: number }
}

/** An authority by its directory; everything that it is asked ends with `signal`. One is in use at a time. */
export function createAuthority(
  options: {
    directory: string
    email: string
    ca: string | undefined
    /** The key of the account, in PEM form; `make` makes one. */
    account: (make: () => Promise<string>) => Promise<string>
  },
  signal: AbortSignal
): Authority {
  const defaults = acme.axios.defaults as unknown as Defaults
  defaults.signal = signal
  defaults.timeout = REQUEST
  if (options.ca !== undefined) defaults.httpsAgent = new Agent({ ca: options.ca })
  // Whoever asks tries again, and knows when.
  defaults.acmeSettings.retryMaxAttempts = 0
  // Of a request that got no answer the library only tells that the answer was undefined.
  let unanswered: Error | undefined
  const watched = (asked: ClientRequest) => {
    unanswered = undefined
    return asked.on('error', (error: Error) => {
      unanswered = error
    })
  }
  defaults.transport = {
    request: ((to: Parameters<typeof request>[0] & { protocol?: string }, done?: () => void) =>
      watched(to.protocol === 'http:' ? request(to, done) : secureRequest(to, done))) as typeof secureRequest
  }

  return {
    issue: (domains, kind, proofs) =>
      order(domains, kind, proofs).catch((error: unknown) => {
        throw unanswered ?? error
      })
  }

  async function order(...[domains, kind, proofs]: Parameters<Authority['issue']>): Promise<KeyPair> {
    const accountKey = await options.account(async () => String(await acme.crypto.createPrivateEcdsaKey()))
    const client = new acme.Client({ directoryUrl: options.directory, accountKey })
    await client.createAccount({
      termsOfServiceAgreed: true,
      ...(options.email !== '' && { contact: [`mailto:${options.email}`] })
    })
    const wanted = await client.createOrder({
      identifiers: domains.map((value) => ({ type: 'dns', value }))
    })
    for (const authorization of await client.getAuthorizations(wanted)) {
      signal.throwIfAborted()
      if (authorization.status !== 'valid') await prove(client, authorization, kind, proofs)
    }
    await settled(async () => {
      const all = await client.getAuthorizations(wanted)
      for (const each of all) if (isOver(each.status) && each.status !== 'valid') throw refusal(each, kind)
      return all.every(({ status }) => status === 'valid')
    }, signal)
    const ownKey = await acme.crypto.createPrivateEcdsaKey()
    const [key, csr] = await acme.crypto.createCsr({ altNames: [...domains] }, ownKey)
    let last = await client.finalizeOrder(wanted, csr)
    await settled(async () => {
      last = await client.getOrder(wanted)
      return isOver(last.status)
    }, signal)
    if (last.status !== 'valid') throw new Error(`the order is ${last.status}`)
    return readPair(await client.getCertificate(last), String(key))
  }
}

/** Whether the authority has made up its mind. */
function isOver(status: string): boolean {
  return status !== 'pending' && status !== 'ready' && status !== 'processing'
}

/** Asks until it is so. The library's own waiting can't be ended. */
async function settled(ask: () => Promise<boolean>, signal: AbortSignal): Promise<void> {
  for (let pause = POLL.first; !(await ask()); pause = Math.min(pause * 1.5, POLL.most))
    await sleep(pause, undefined, { signal })
}

/** Why a domain was not believed to be ours. */
function refusal({ identifier, challenges, status }: Authorization, kind: ChallengeType): Error {
  const { error } = (challenges.find(({ type }) => type === kind) ?? {}) as { error?: { detail?: string } }
  return new Error(`${identifier.value} by ${kind}: ${error?.detail ?? `it is ${status}`}`)
}

/** Lays out what shows that a domain is ours, and has the authority look. */
async function prove(
  client: acme.Client,
  authorization: Authorization,
  kind: ChallengeType,
  proofs: Proofs
): Promise<void> {
  const domain = authorization.identifier.value
  const challenge = authorization.challenges.find(({ type }) => type === kind)
  if (challenge === undefined) throw new Error(`it does not offer ${kind} for ${domain}`)
  const answer = await client.getChallengeKeyAuthorization(challenge)
  if (kind === 'http-01') proofs.http.set(challenge.token, answer)
  else {
    const ownKey = await acme.crypto.createPrivateEcdsaKey()
    const [key, cert] = await acme.crypto.createAlpnCertificate(authorization, answer, ownKey)
    proofs.alpn.set(domain, readPair(String(cert), String(key)))
  }
  await client.completeChallenge(challenge)
}
