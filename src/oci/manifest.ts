import { z } from 'zod'
import { clip, type Digest, isDigest } from './digest.ts'
import { RegistryError } from './errors.ts'
import {
  bareType,
  DOCKER_LIST,
  DOCKER_MANIFEST,
  DOCKER_SCHEMA1,
  IMAGE_TYPES,
  INDEX_TYPES,
  isMediaType,
  mayBeAbsent,
  OCI_INDEX,
  OCI_MANIFEST
} from './media-types.ts'

/** The largest manifest kept, in bytes (the distribution specification asks for at least this). */
export const MAX_MANIFEST = 4 * 1024 * 1024

/** How deep a manifest's JSON may nest: far past any real one, far short of a stack overflow. */
const MAX_DEPTH = 64

const digest = z.string().refine(isDigest, 'is not a digest') as unknown as z.ZodType<Digest>
const annotations = z.record(z.string(), z.string()).nullish()

const descriptor = z.looseObject({
  mediaType: z.string().min(1).max(255),
  digest,
  size: z.int().nonnegative(),
  data: z.base64().nullish(),
  urls: z.array(z.string()).nullish(),
  artifactType: z.string().nullish(),
  annotations,
  platform: z
    .looseObject({ architecture: z.string(), os: z.string(), variant: z.string().nullish() })
    .nullish()
})

/**
 * A reference to content: its type, digest and size in bytes.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/descriptor.md
 */
export type Descriptor = z.infer<typeof descriptor>

const image = z.looseObject({
  schemaVersion: z.literal(2),
  mediaType: z.string().nullish(),
  artifactType: z.string().nullish(),
  config: descriptor,
  layers: z.array(descriptor).nullish(),
  subject: descriptor.nullish(),
  annotations
})

const index = z.looseObject({
  schemaVersion: z.literal(2),
  mediaType: z.string().nullish(),
  artifactType: z.string().nullish(),
  manifests: z.array(descriptor).nullish(),
  subject: descriptor.nullish(),
  annotations
})

/** What the registry needs to know of a manifest. Its bytes are kept as they came, always. */
export interface Manifest {
  readonly mediaType: string
  /** Descriptors of blobs: the config and the layers, those that may be absent left out. */
  readonly blobs: readonly Descriptor[]
  /** Descriptors of other manifests: the children of an index. */
  readonly children: readonly Descriptor[]
  readonly subject: Descriptor | undefined
  /** What a referrers list shows as the type: `artifactType`, else the config's media type. */
  readonly artifactType: string | undefined
  readonly annotations: Readonly<Record<string, string>> | undefined
  /** Whether `mediaType` can be worked out from the bytes alone, as {@link readManifest} does. */
  readonly selfDescribing: boolean
}

/**
 * Reads a manifest and checks it against the schema of its type.
 *
 * With a `contentType` (a push), the type must agree with the document's own `mediaType`. Without one
 * (bytes from a tree that keeps no types), the type is the document's `mediaType`, or follows from its
 * fields. A manifest of an unknown type is accepted if it is a JSON object, and nothing in it is
 * followed but a `subject`.
 *
 * @throws {RegistryError} MANIFEST_INVALID
 */
export function readManifest(bytes: Uint8Array, contentType?: string): Manifest {
  const json = parseJson(bytes)
  const own = typeof json['mediaType'] === 'string' ? json['mediaType'] : undefined
  const asked = bareType(contentType)
  if (json['schemaVersion'] === 1 || DOCKER_SCHEMA1.includes(asked)) {
    throw refused('it is Docker schema 1, which is not accepted: push it again with a client from after 2017')
  }
  if (asked !== '' && own !== undefined && bareType(own) !== asked) {
    throw refused(`its mediaType is '${own}' but the Content-Type says '${asked}'`)
  }
  const guess = own === undefined ? typeByFields(json) : bareType(own)
  const mediaType = asked === '' ? guess : asked
  if (mediaType === undefined) {
    throw refused('its type is not known: send a Content-Type, or set mediaType in the document')
  }
  // It becomes a header of every answer.
  if (!isMediaType(mediaType)) throw refused(`'${clip(mediaType)}' is not a media type`)
  const selfDescribing = guess === mediaType
  if (IMAGE_TYPES.includes(mediaType)) {
    if ('manifests' in json) throw refused("it has 'manifests', which an image manifest cannot have")
    const read = check(image, json)
    return {
      mediaType,
      selfDescribing,
      blobs: [read.config, ...(read.layers ?? [])].filter((blob) => !mayBeAbsent(blob.mediaType)),
      children: [],
      subject: read.subject ?? undefined,
      artifactType: read.artifactType || read.config.mediaType,
      annotations: read.annotations ?? undefined
    }
  }
  if (INDEX_TYPES.includes(mediaType)) {
    if ('config' in json || 'layers' in json) {
      throw refused("it has 'config' or 'layers', which an index cannot have")
    }
    const read = check(index, json)
    return {
      mediaType,
      selfDescribing,
      blobs: [],
      children: read.manifests ?? [],
      subject: read.subject ?? undefined,
      artifactType: read.artifactType || undefined,
      annotations: read.annotations ?? undefined
    }
  }
  const other = check(z.looseObject({ subject: descriptor.nullish(), annotations }), json)
  return {
    mediaType,
    selfDescribing,
    blobs: [],
    children: [],
    subject: other.subject ?? undefined,
    artifactType: typeof json['artifactType'] === 'string' ? json['artifactType'] : undefined,
    annotations: other.annotations ?? undefined
  }
}

function typeByFields(json: Record<string, unknown>): string | undefined {
  if (Array.isArray(json['manifests'])) {
    const types = json['manifests'].map((child) => (child as { mediaType?: unknown } | null)?.mediaType)
    return types.length > 0 && types.every((type) => type === DOCKER_MANIFEST) ? DOCKER_LIST : OCI_INDEX
  }
  if (json['config'] === undefined && json['layers'] === undefined) return undefined
  const config = (json['config'] as { mediaType?: unknown } | null)?.mediaType
  return config === 'application/vnd.docker.container.image.v1+json' ? DOCKER_MANIFEST : OCI_MANIFEST
}

/**
 * Parses a JSON object of somebody else's, its size and depth bounded.
 *
 * @param what for the message
 * @throws {RegistryError} MANIFEST_INVALID
 */
export function parseJson(bytes: Uint8Array, what = 'the manifest'): Record<string, unknown> {
  if (bytes.length > MAX_MANIFEST) throw refused(`it is larger than ${MAX_MANIFEST} bytes`, what)
  let json: unknown
  try {
    const text = new TextDecoder('utf-8', { fatal: true }).decode(bytes)
    checkDepth(text, what)
    json = JSON.parse(text)
  } catch (error) {
    if (error instanceof RegistryError) throw error
    throw refused('it is not JSON', what)
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json))
    throw refused('it is not a JSON object', what)
  return json as Record<string, unknown>
}

/** Refuses deep nesting before `JSON.parse` sees it. Brackets inside strings don't count. */
function checkDepth(text: string, what: string): void {
  let depth = 0
  let inString = false
  for (let i = 0; i < text.length; i++) {
    const c = text.charCodeAt(i)
    if (inString) {
      if (c === 0x5c) i++
      else if (c === 0x22) inString = false
    } else if (c === 0x22) inString = true
    else if (c === 0x7b || c === 0x5b) {
      if (++depth > MAX_DEPTH) throw refused(`its JSON nests deeper than ${MAX_DEPTH}`, what)
    } else if (c === 0x7d || c === 0x5d) depth--
  }
}

function check<T>(schema: z.ZodType<T>, json: unknown): T {
  const result = schema.safeParse(json)
  if (result.success) return result.data
  const [issue] = result.error.issues
  throw refused(`${issue?.path.join('.') || 'the document'}: ${issue?.message ?? 'does not fit the schema'}`)
}

function refused(why: string, what = 'the manifest'): RegistryError {
  return new RegistryError('MANIFEST_INVALID', `${what} was refused: ${why}`)
}
