import { RegistryError } from '../oci/errors.ts'
import { globMatches } from './glob.ts'

/** Says of a domain whether it may be used for something. */
export interface DomainRules {
  /** @throws {RegistryError} DENIED */
  check(domain: string): void
}

/** Allows everything. */
export const ANY_DOMAIN: DomainRules = { check: () => undefined }

/**
 * Makes rules of globs: a domain that `deny` names is refused, and so is one that `allow` doesn't name, unless that is
 * empty. `*.example.com` is for whatever is below example.com, and not for itself.
 *
 * @param options.refusal what a client is told of a domain that is refused
 */
export function createDomainRules(options: {
  allow: readonly string[]
  deny: readonly string[]
  refusal: (domain: string) => string
}): DomainRules {
  const { allow, deny, refusal } = options
  if (allow.length === 0 && deny.length === 0) return ANY_DOMAIN
  return {
    check(text) {
      const domain = text.toLowerCase().replace(/\.$/, '')
      const named = (globs: readonly string[]) => globs.some((glob) => globMatches(glob, domain))
      if (named(deny) || (allow.length > 0 && !named(allow)))
        throw new RegistryError('DENIED', refusal(domain), { detail: { domain } })
    }
  }
}
