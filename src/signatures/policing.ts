import { LRUCache } from 'lru-cache'
import { rightsName, type Watched } from '../auth/index.ts'
import { type Digest, digestOf, splitDigest } from '../oci/digest.ts'
import { isAbort, RegistryError } from '../oci/errors.ts'
import { readManifest } from '../oci/manifest.ts'
import { INDEX_TYPES } from '../oci/media-types.ts'
import type { Reference } from '../oci/reference.ts'
import type { ManifestContent, ManifestPush, PullTarget, Registry } from '../registry/index.ts'
import { createShared } from '../upstream/index.ts'
import { isAttachment } from './attachments.ts'
import { readBlob } from './find.ts'
import { rulesFor } from './policy.ts'
import { type Finding, searchSignatures } from './search.ts'
import type { Moment, SignaturePolicy, SignatureRule, Subject } from './types.ts'

/** A refusal for want of a signature. Its message is for the client. */
export class UnsignedError extends RegistryError {
  constructor(message: string, digest: Digest) {
    super('DENIED', message, { detail: { digest } })
  }
}

/** Asks for signatures. What no rule is for goes through. */
export interface Signatures {
  /**
   * Lets a manifest go out that is signed, is part of an index that was found to be signed, or is itself a signature.
   *
   * @param maySign whether the client may push there: it may then have by digest what it is about to sign
   * @throws {UnsignedError}
   * @throws {RegistryError} SOURCE_FAILED, SOURCE_TIMEOUT where it can't be found out
   */
  atPull(
    name: PullTarget,
    reference: Reference,
    manifest: ManifestContent,
    maySign: () => Promise<boolean>,
    signal: AbortSignal
  ): Promise<void>
  /** Lets tags be given to what is signed already. @throws as {@link Signatures.atPull}, MANIFEST_INVALID */
  atPush(name: PullTarget, what: ManifestPush, signal: AbortSignal): Promise<void>
}

/** How long it holds that something is signed, and that it isn't; in milliseconds. */
const SIGNED_MS = 300_000
const UNSIGNED_MS = 5000

/** How much is remembered. */
const MAX_FINDINGS = 10_000
const MAX_PARTS = 50_000

/** How deep indexes are followed into one another. */
const MAX_DEPTH = 4

/** Makes {@link Signatures}. */
export function createSignatures(options: {
  policy: Watched<SignaturePolicy>
  registry: Pick<Registry, 'pull' | 'lists' | 'names' | 'onRoot'>
  /** For finding out about one manifest, in milliseconds. */
  timeoutMs: number
  now?: () => number
}): Signatures {
  const { policy, registry, timeoutMs, now = Date.now } = options
  const findings = new LRUCache<string, Finding>({ max: MAX_FINDINGS })
  const asking = createShared<Finding>()
  /** By repository and digest: the signed index that a manifest is part of. */
  const wholes = new LRUCache<string, Subject>({ max: MAX_PARTS })
  let foundFor: SignaturePolicy | undefined
  let policies = 0

  // what has just been signed is not to be refused for what was true before
  let changes = 0
  registry.onRoot(() => {
    changes++
    for (const [key, finding] of findings.entries()) if (!finding.signed) findings.delete(key)
  })

  /** The policy as it is now; what was found out by another one is forgotten. */
  async function current(): Promise<SignaturePolicy> {
    const latest = await policy.current()
    if (foundFor !== latest) {
      foundFor = latest
      policies++
      findings.clear()
    }
    return latest
  }

  /** All names that a repository is asked for by, and could lead to. */
  function namesOf(name: PullTarget): readonly PullTarget[] {
    const elsewhere = name.hereOnly === true ? undefined : registry.names?.elsewhere(name)
    return elsewhere === undefined ? [name] : [name, elsewhere]
  }

  /** Whether a manifest has the signatures that the rules want; found out once for all who ask. */
  async function find(
    names: readonly PullTarget[],
    subject: Subject,
    rules: readonly SignatureRule[],
    signal: AbortSignal
  ): Promise<Finding> {
    const key = [...rules.map(({ what }) => what), keyOf(names, subject.digest), subject.mediaType].join(' ')
    const known = findings.get(key)
    if (known !== undefined) return known
    const by = foundFor
    const then = changes
    return asking(`${policies} ${key}`, signal, async (all) => {
      const limited = AbortSignal.any([all, AbortSignal.timeout(timeoutMs)])
      const finding = await searchSignatures(registry, names, subject, rules, now, limited).catch(
        (error: unknown) => {
          if (!isAbort(error) || all.aborted) throw error
          throw new RegistryError(
            'SOURCE_TIMEOUT',
            `whether it is signed could not be found out within ${timeoutMs} ms`,
            { cause: error }
          )
        }
      )
      const most = finding.signed
        ? Math.min(SIGNED_MS, (finding.until ?? Number.POSITIVE_INFINITY) - now())
        : UNSIGNED_MS
      const holds = foundFor === by && (finding.signed || changes === then)
      if (holds && most >= 1) findings.set(key, finding, { ttl: most })
      return finding
    })
  }

  /** The same of a manifest, or of an index that it is part of. */
  async function findWhole(
    names: readonly PullTarget[],
    subject: Subject,
    rules: readonly SignatureRule[],
    signal: AbortSignal,
    depth = 0
  ): Promise<Finding> {
    const found = await find(names, subject, rules, signal)
    const whole = found.signed || depth >= MAX_DEPTH ? undefined : wholes.get(keyOf(names, subject.digest))
    if (whole === undefined) return found
    return (await findWhole(names, whole, rules, signal, depth + 1)).signed ? { signed: true } : found
  }

  const attaches = (
    name: PullTarget,
    bytes: Uint8Array,
    mediaType: string | undefined,
    tags: readonly string[],
    signal: AbortSignal
  ) => isAttachment(bytes, mediaType, tags, (blob) => readBlob(registry, name, blob, signal))

  return {
    async atPull(name, reference, { bytes, digest, mediaType }, maySign, signal) {
      const names = namesOf(name)
      const rules = rulesFor(await current(), names.map(rightsName), 'pull')
      if (rules.length === 0) return
      const subject = { digest, mediaType, size: bytes.length }
      const tags = reference.kind === 'tag' ? [reference.tag] : []
      const attachment = await attaches(name, bytes, mediaType, tags, signal)
      if (attachment && !INDEX_TYPES.includes(mediaType)) return
      const finding = await findWhole(names, subject, rules, signal)
      if (finding.signed) {
        for (const part of readManifest(bytes, mediaType).children)
          if (part.digest !== digest) wholes.set(keyOf(names, part.digest), subject)
        return
      }
      if (attachment) return
      if (reference.kind === 'digest' && (await maySign())) return
      throw refusal('pull', name, reference.kind === 'tag' ? reference.tag : undefined, digest, finding.why)
    },

    async atPush(name, { bytes, contentType, digest: expected, tags }, signal) {
      const names = [name]
      const rules = tags.length === 0 ? [] : rulesFor(await current(), names.map(rightsName), 'push')
      if (rules.length === 0) return
      const { mediaType } = readManifest(bytes, contentType)
      const digest = digestOf(bytes, expected === undefined ? 'sha256' : splitDigest(expected).algorithm)
      // such a tag says no more than the digest does; 'cosign copy' gives it to what it copies
      if (tags.every((tag) => tag === digest.replace(':', '-'))) return
      if (await attaches(name, bytes, contentType, tags, signal)) return
      const subject = { digest, mediaType, size: bytes.length }
      const finding = await findWhole(names, subject, rules, signal)
      if (finding.signed) return
      throw refusal('push', name, tags[0], digest, finding.why)
    }
  }
}

const keyOf = (names: readonly PullTarget[], digest: Digest): string =>
  [...names.map(rightsName), digest].join(' ')

function refusal(
  moment: Moment,
  { asked }: PullTarget,
  tag: string | undefined,
  digest: Digest,
  why: string
): UnsignedError {
  const image = tag === undefined ? `${asked}@${digest}` : `${asked}:${tag} (${digest})`
  const toDo =
    moment === 'push'
      ? `push it by its digest, sign ${asked}@${digest}, and tag it then`
      : 'have it signed by who the policy names; if it is part of an index that is, pull that index first'
  return new UnsignedError(`${image} was refused: ${why}; ${toDo}`, digest)
}
