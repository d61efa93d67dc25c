import { Agent } from 'node:https'
import acme, { type Authorization } from 'acme-client'
import { reason } from '../oci/errors.ts'
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

/** How often, and after what pause at least and at most (in milliseconds), the authority is asked how far it is. */
const POLL = { backoffAttempts: 60, backoffMin: 500, backoffMax: 10_000 }

/** What the ACME library adds to the settings of its HTTP client. */
interface Defaults {
  signal?: AbortSignal
  timeout?: number
  httpsAgent?: Agent
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

  return {
    async issue(domains, kind, proofs) {
      const accountKey = await options.account(async () => String(await acme.crypto.createPrivateEcdsaKey()))
      const client = new acme.Client({ directoryUrl: options.directory, accountKey, ...POLL })
      await client.createAccount({
        termsOfServiceAgreed: true,
        ...(options.email !== '' && { contact: [`mailto:${options.email}`] })
      })
      const order = await client.createOrder({
        identifiers: domains.map((value) => ({ type: 'dns', value }))
      })
      for (const authorization of await client.getAuthorizations(order)) {
        signal.throwIfAborted()
        if (authorization.status !== 'valid') await prove(client, authorization, kind, proofs)
      }
      const ownKey = await acme.crypto.createPrivateEcdsaKey()
      const [key, request] = await acme.crypto.createCsr({ altNames: [...domains] }, ownKey)
      const cert = await client.getCertificate(await client.finalizeOrder(order, request))
      signal.throwIfAborted()
      return readPair(cert, String(key))
    }
  }
}

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
    const [key, cert] = await acme.crypto.createAlpnCertificate(
      authorization,
      answer,
      await acme.crypto.createPrivateEcdsaKey()
    )
    proofs.alpn.set(domain, readPair(String(cert), String(key)))
  }
  try {
    await client.completeChallenge(challenge)
    await client.waitForValidStatus(challenge)
  } catch (error) {
    throw new Error(`${domain} by ${kind}: ${reason(error)}`, { cause: error })
  }
}
