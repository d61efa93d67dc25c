import type { Digest } from '../oci/digest.ts'
import { type Compression, layerType } from './compress.ts'
import type { KnownLayer } from './memory.ts'
import type { BlobId } from './types.ts'

/** A layer that came out of a tar, as the target has it now. */
export interface PassedLayer {
  readonly diffId: Digest
  readonly blob: BlobId
  readonly mediaType: string
  /** Whether the target has the very bytes that the tar had. */
  readonly unchanged: boolean
  /** Whether the target had it already. */
  readonly there: boolean
}

/** What a tar held. */
export interface Passed {
  /** JSON files by path: manifests, configs, indexes. */
  readonly documents: ReadonlyMap<string, Buffer>
  /** Layers by path, links followed. */
  readonly layers: ReadonlyMap<string, PassedLayer>
  /** Layers taken for ones that the target has, but which were others: the tar has to be read once more. */
  readonly mistaken: boolean
}

/** Known layers as they are named in a manifest. */
export function asPassed(known: KnownLayer, compression: Compression | undefined): PassedLayer {
  const { diffId, digest, size } = known
  return {
    diffId,
    blob: { digest, size },
    mediaType: layerType(compression?.kind ?? 'none'),
    unchanged: false,
    there: true
  }
}
