import { RegistryError } from '../oci/errors.ts'
import type { PullTarget } from '../registry/index.ts'
import { verifyCosign } from './cosign.ts'
import { findSignatures, type Source } from './find.ts'
import { COSE, JWS, verifyNotation } from './notation.ts'
import { BadSignature, type FoundSignature, type SignatureRule, type Signed, type Subject } from './types.ts'

/** What was found out of a manifest. */
export type Finding = ({ readonly signed: true } & Signed) | { readonly signed: false; readonly why: string }

/** How many signatures that don't count a refusal explains. */
const MAX_REASONS = 3

/** Checks a signature against all that a rule takes. @throws {BadSignature} */
async function verify(
  found: FoundSignature,
  subject: Subject,
  rule: SignatureRule,
  now: number
): Promise<Signed> {
  if (found.mediaType !== JWS && found.mediaType !== COSE) {
    if (rule.keys.length > 0) return verifyCosign(found, subject, rule.keys)
    throw new BadSignature('it is one of cosign, and notation is asked for')
  }
  if (rule.trust !== undefined) return verifyNotation(found, subject, rule.trust, now)
  throw new BadSignature('it is one of notation, and cosign is asked for')
}

/**
 * Looks for signatures of a manifest until every rule has one that counts.
 *
 * @param names where they are looked for
 * @throws {RegistryError} SOURCE_FAILED, SOURCE_TIMEOUT where none counts and not all could be looked at
 */
export async function searchSignatures(
  source: Source,
  names: readonly PullTarget[],
  subject: Subject,
  rules: readonly SignatureRule[],
  now: () => number,
  signal: AbortSignal
): Promise<Finding> {
  let left = [...rules]
  let until = Number.POSITIVE_INFINITY
  let failure: RegistryError | undefined
  const bad = new Set<string>()
  for (const name of names)
    for await (const found of findSignatures(source, name, subject.digest, signal, (e) => (failure ??= e))) {
      const still: SignatureRule[] = []
      for (const rule of left)
        try {
          until = Math.min(until, (await verify(found, subject, rule, now())).until ?? until)
        } catch (error) {
          if (!(error instanceof BadSignature)) throw error
          bad.add(error.message)
          still.push(rule)
        }
      left = still
      if (left.length === 0) return { signed: true, until }
    }
  if (failure !== undefined)
    throw new RegistryError(
      failure.code.endsWith('_TIMEOUT') ? 'SOURCE_TIMEOUT' : 'SOURCE_FAILED',
      `whether it is signed can't be found out: ${failure.message}`,
      { cause: failure }
    )
  const [rule] = left as [SignatureRule]
  const by = [rule.keys.length > 0 ? 'cosign' : '', rule.trust === undefined ? '' : 'notation']
  const reasons = [...bad].slice(0, MAX_REASONS).join('; ')
  return {
    signed: false,
    why:
      `${rule.what} of the gateway's signature policy wants a signature by ${by.filter(Boolean).join(' or ')}, and ` +
      (bad.size === 0 ? 'there is none' : `none of those there are counts: ${reasons}`)
  }
}
