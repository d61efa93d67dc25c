import type { KeyObject, X509Certificate } from 'node:crypto'
import type { Digest } from '../oci/digest.ts'

/** What is signed: a manifest, as descriptors name it. */
export interface Subject {
  readonly digest: Digest
  /** In bytes. */
  readonly size: number
  readonly mediaType: string
}

/** When a policy is asked: before a manifest goes out, or before it gets a tag here. */
export const MOMENTS = ['pull', 'push'] as const

/** One of {@link MOMENTS}. */
export type Moment = (typeof MOMENTS)[number]

/** Whose notation signatures are trusted. */
export interface Trust {
  /** Authorities, or certificates that sign by themselves. */
  readonly certificates: readonly X509Certificate[]
  /** What the signer's certificate must be for, one of these, each as its attributes (`O` → `Acme`); for anybody if there are none. */
  readonly identities: readonly ReadonlyMap<string, string>[]
}

/** One rule of a policy: what is in these repositories must be signed by one of these. */
export interface SignatureRule {
  /** Where it stands, for messages: `rule 2`, counted from 1. */
  readonly what: string
  /** Globs; those that begin with `!` are exceptions. */
  readonly repositories: readonly string[]
  readonly at: readonly Moment[]
  /** Public keys of cosign. */
  readonly keys: readonly KeyObject[]
  readonly trust: Trust | undefined
}

/** What must be signed, and by whom. */
export interface SignaturePolicy {
  readonly rules: readonly SignatureRule[]
}

/** A signature as it was found with an image; nothing of it has been checked. */
export interface FoundSignature {
  /** The media type of what holds it. */
  readonly mediaType: string
  readonly bytes: Uint8Array
  /** Of the layer that it is, where cosign keeps the signature of a payload. */
  readonly annotations: Readonly<Record<string, string>>
}

/** Until when a signature that has been checked holds, in milliseconds since 1970; for ever unless given. */
export interface Signed {
  readonly until?: number
}

/** Why a signature is none that counts. */
export class BadSignature extends Error {
  override readonly name = 'BadSignature'
}
