import type { Digest } from '../oci/digest.ts'
import type { Descriptor } from '../oci/manifest.ts'

/** A manifest as it is kept: its bytes are never changed on the way. */
export interface StoredManifest {
  readonly digest: Digest
  readonly mediaType: string
  readonly bytes: Uint8Array
}

/** What names a blob: its digest and its size in bytes. */
export type BlobId = Pick<Descriptor, 'digest' | 'size'>

/**
 * Somewhere that keeps one repository's images by digest: a gateway, a registry, an OCI layout, a CAR. Every method
 * throws {@link MoveError} or a RegistryError whose message says what to do.
 */
export interface ImageSource {
  /** For messages: `127.0.0.1:5000/app`, `oci:./app`. */
  readonly name: string
  /** The tags here, in byte order. */
  tags(signal: AbortSignal): Promise<readonly string[]>
  /** A manifest by tag or digest, checked against its digest. */
  manifest(reference: string, signal: AbortSignal): Promise<StoredManifest>
  /** The bytes of a blob from `at` on. They are not checked: {@link verified} does that. */
  read(blob: BlobId, at: number, signal: AbortSignal): AsyncIterable<Uint8Array>
  /** What refers to a manifest: signatures, SBOMs. */
  referrers(digest: Digest, signal: AbortSignal): Promise<readonly Descriptor[]>
}

/** Somewhere that takes images in, blob by blob. What isn't finished is never seen by those who use it. */
export interface ImageTarget {
  readonly name: string
  hasBlob(blob: BlobId, signal: AbortSignal): Promise<boolean>
  hasManifest(digest: Digest, signal: AbortSignal): Promise<boolean>
  /**
   * Takes a blob in. `read` gives its bytes from an offset on, and may be called again after a break; a
   * target that checks nothing itself compares them with the digest.
   */
  write(blob: BlobId, read: (at: number) => AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void>
  /** Takes in bytes whose digest is known only at their end. */
  writeStream(content: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<BlobId>
  /** Takes a blob over from another repository of the same place, if that can be; `false` if it can't. */
  mount(blob: BlobId, signal: AbortSignal): Promise<boolean>
  /** A small blob that is here, checked; `undefined` if it isn't. */
  smallBlob(digest: Digest, signal: AbortSignal): Promise<Buffer | undefined>
  /** Keeps a manifest, under a tag or its digest alone. All that it names is here. */
  putManifest(manifest: StoredManifest, tag: string | undefined, signal: AbortSignal): Promise<void>
}

/** A source and target in one. */
export type ImageStore = ImageSource & ImageTarget

/** What happens to one blob, for whoever shows it. */
export interface BlobProgress {
  /** Bytes more that have been moved. */
  add(bytes: number): void
  /** It is all there; `skipped` where the other side had it already. */
  done(skipped: boolean): void
}

/** Told of what is moved. */
export interface Reporter {
  /** A blob begins: `total` bytes, if that is known. */
  blob(name: string, total: number | undefined): BlobProgress
  /** A line for people: something was skipped, or took another way. */
  note(text: string): void
}

/** How much was moved. */
export interface Moved {
  /** Blobs that were moved and those that the other side had. */
  blobs: number
  skipped: number
  /** Bytes that were moved, and that didn't have to be. */
  bytes: number
  skippedBytes: number
}

/** The largest blob that is read as a whole, a config for one, in bytes. */
export const MAX_SMALL = 4 * 1024 * 1024

/** A failure whose message is for people, one line that says what to do. */
export class MoveError extends Error {
  override readonly name: string = 'MoveError'
}

/** What was asked for isn't there, or is refused: asking again would change nothing. */
export class Refused extends MoveError {
  override readonly name = 'Refused'
  /** Whether it isn't there. */
  readonly unknown: boolean

  constructor(message: string, options: { unknown?: boolean; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.unknown = options.unknown ?? false
  }
}

/** Content isn't what its digest says, or is cut short: what is wrong is where it comes from, not the way. */
export class WrongContent extends MoveError {
  override readonly name = 'WrongContent'
}
