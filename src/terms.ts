/** What the settings say about strangers: what they may have the gateway do, and how much of it. */
import { type Config, isLoopback } from './config.ts'
import type { AdmissionOptions } from './http/admission.ts'
import type { AllowDial } from './ipfs/index.ts'
import { createDomainRules, type DomainRules } from './registry/index.ts'

/** Requests a second of one client where nothing else is set: an image of 100 layers takes some 200, once. */
const REQUEST_RATE = 100

/**
 * Which addresses may be dialled: any, as long as nobody but the operator can say so; else those that are public, and
 * those that the operator allows. A seed port counts where it fetches what is asked for there.
 */
export function dialRules(config: Config): AllowDial {
  const { allowDial: allow, denyDial: deny } = config
  return { base: steerable(config) && !config.allowPrivatePeers ? 'public' : 'any', allow, deny }
}

/** Which domains may be looked up and pushed to. */
export function domainRules(config: Config): { resolve: DomainRules; push: DomainRules } {
  return {
    resolve: createDomainRules({
      allow: config.resolveAllow,
      deny: config.resolveDeny,
      refusal: (domain) =>
        `${domain} is not looked up by this gateway (SEAWAY_RESOLVE_ALLOW, SEAWAY_RESOLVE_DENY): ask its operator, or pull through a gateway of your own`
    }),
    push: createDomainRules({
      allow: config.pushAllow,
      deny: config.pushDeny,
      refusal: (domain) =>
        `nothing is pushed to ${domain} through this gateway (SEAWAY_PUSH_ALLOW, SEAWAY_PUSH_DENY): use a domain that it takes, ask its operator, or push to a gateway of your own`
    })
  }
}

/** How much one client, and all of them, may have of the registry's port. */
export function admissionTerms(config: Config): Omit<AdmissionOptions, 'log'> {
  const { requestRate = isLoopback(config.listen.host) ? 0 : REQUEST_RATE } = config
  return {
    trustedProxies: config.trustedProxies,
    requestRate,
    uploads: { total: config.maxUploads, perAddress: config.maxUploadsPerAddress },
    rate: { perAddress: config.clientRate, total: config.clientsRate }
  }
}

function steerable({ listen, seedListen, gatewayFetch }: Config): boolean {
  return (
    !isLoopback(listen.host) || (gatewayFetch && seedListen !== undefined && !isLoopback(seedListen.host))
  )
}
