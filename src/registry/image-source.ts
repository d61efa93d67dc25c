import type { Digest } from '../oci/digest.ts'
import type { Descriptor } from '../oci/manifest.ts'
import type { Reference } from '../oci/reference.ts'
import type { ManifestContent } from './pull.ts'
import type { Referrer } from './referrers.ts'

/** Images that can be looked at, wherever they are: a conformance test runs every kind of it. */
export interface ImageSource {
  /** For messages: which one it is. */
  readonly what: string
  /** A name without the domain that a tree may have in front of it, and that may be left out by who looks for it. */
  bare?(name: string): string
  /**
   * Names of repositories, those after `after` in byte order.
   *
   * @throws {RegistryError} UNSUPPORTED when it doesn't tell; NAME_UNKNOWN, SOURCE_FAILED, SOURCE_TIMEOUT
   */
  repositories(after: string, signal: AbortSignal): AsyncGenerator<string>
  /** @throws {RegistryError} NAME_UNKNOWN, SOURCE_FAILED, SOURCE_TIMEOUT */
  repository(name: string, signal: AbortSignal): Promise<ImageRepository>
}

/** One repository of a source. What it throws is as for {@link ImageSource.repository}. */
export interface ImageRepository {
  /** For messages: where it was found. */
  readonly what: string
  /** The tree's root, where it is one of IPFS. */
  readonly root?: string
  /** Tags after `after`, in byte order. */
  tags(after: string, signal: AbortSignal): AsyncGenerator<string>
  /** What a tag points at. @throws {RegistryError} MANIFEST_UNKNOWN */
  digest(tag: string, signal: AbortSignal): Promise<Digest>
  /** @throws {RegistryError} MANIFEST_UNKNOWN */
  manifest(reference: Reference, signal: AbortSignal): Promise<ManifestContent>
  /** All bytes of a config, checked. @throws {RegistryError} BLOB_UNKNOWN */
  config(descriptor: Descriptor, signal: AbortSignal): Promise<Uint8Array>
  /** Where content is. */
  whereabouts(digest: Digest, size: number, signal: AbortSignal): Promise<ContentPlace>
  /** What refers to a manifest: signatures, SBOMs. */
  referrers(digest: Digest, signal: AbortSignal): Promise<readonly Referrer[]>
  /** Who is said to have it. */
  providers(signal: AbortSignal): Promise<readonly Provider[]>
}

/** Where content is. */
export interface ContentPlace {
  /** Its CID, where that is known. */
  readonly cid?: string
  /** Whether this gateway's store has it; not there where nobody looked. */
  readonly here?: boolean
}

/** Somebody who is said to have a tree. */
export interface Provider {
  /** A multiaddr, or a URL. */
  readonly address: string
  /** Who says so: DNS or IPNS; SEAWAY_PEERS; or the registry that was asked. */
  readonly from: 'record' | 'setting' | 'registry'
  /** Whether there is a connection now; not there where nobody looked. */
  readonly connected?: boolean
}

/** The largest config that is read, in bytes. */
export const MAX_CONFIG = 4 * 1024 * 1024
