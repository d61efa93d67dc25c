import { z } from 'zod'
import { RegistryError } from './errors.ts'
import { parseJson } from './manifest.ts'

/** Media types of configs that tell what an image is; others belong to artifacts. */
const CONFIG_TYPES = [
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json'
]

const texts = z.array(z.string()).nullish()
const marks = z.record(z.string(), z.unknown()).nullish()

const schema = z.looseObject({
  created: z.string().nullish(),
  author: z.string().nullish(),
  architecture: z.string().nullish(),
  os: z.string().nullish(),
  variant: z.string().nullish(),
  config: z
    .looseObject({
      User: z.string().nullish(),
      Env: texts,
      Entrypoint: texts,
      Cmd: texts,
      WorkingDir: z.string().nullish(),
      ExposedPorts: marks,
      Volumes: marks,
      Labels: z.record(z.string(), z.string()).nullish()
    })
    .nullish(),
  history: z
    .array(z.looseObject({ created_by: z.string().nullish(), empty_layer: z.boolean().nullish() }))
    .nullish()
})

/** What an image's config says, as far as people ask for it. */
export interface ImageConfig {
  /** When it was made, as it says: RFC 3339. */
  readonly created?: string
  readonly author?: string
  /** `os/architecture`, and a variant if there is one. */
  readonly platform?: string
  readonly user?: string
  readonly env: readonly string[]
  readonly entrypoint: readonly string[]
  readonly cmd: readonly string[]
  readonly workingDir?: string
  readonly ports: readonly string[]
  readonly volumes: readonly string[]
  readonly labels: Readonly<Record<string, string>>
  /** What made each layer, in the order of the layers; as long as what is known. */
  readonly steps: readonly string[]
}

/** Whether a config of this media type is an image's. */
export function isImageConfig(mediaType: string): boolean {
  return CONFIG_TYPES.includes(mediaType)
}

/**
 * Reads an image's config.
 *
 * @see https://github.com/opencontainers/image-spec/blob/v1.1.1/config.md
 * @throws {RegistryError} MANIFEST_INVALID
 */
export function readImageConfig(bytes: Uint8Array): ImageConfig {
  const result = schema.safeParse(parseJson(bytes, 'the image config'))
  if (!result.success) {
    const [issue] = result.error.issues
    throw new RegistryError(
      'MANIFEST_INVALID',
      `the image config is not valid: ${issue?.path.join('.') ?? ''}: ${issue?.message ?? ''}`
    )
  }
  const { created, author, architecture, os, variant, config, history } = result.data
  const platform = platformText({ os: os ?? '', architecture: architecture ?? '', variant: variant ?? '' })
  return {
    ...(created && { created }),
    ...(author && { author }),
    ...(platform !== undefined && { platform }),
    ...(config?.User && { user: config.User }),
    env: config?.Env ?? [],
    entrypoint: config?.Entrypoint ?? [],
    cmd: config?.Cmd ?? [],
    ...(config?.WorkingDir && { workingDir: config.WorkingDir }),
    ports: Object.keys(config?.ExposedPorts ?? {}),
    volumes: Object.keys(config?.Volumes ?? {}),
    labels: config?.Labels ?? {},
    steps: (history ?? []).filter((step) => step.empty_layer !== true).map((step) => step.created_by ?? '')
  }
}

/** A platform as one writes it, `linux/arm64/v8`; `undefined` where it isn't known. */
export function platformText(platform: {
  os: string
  architecture: string
  variant?: string | null | undefined
}): string | undefined {
  const { os, architecture, variant } = platform
  if (os === '' || architecture === '' || (os === 'unknown' && architecture === 'unknown')) return undefined
  return [os, architecture, ...(variant ? [variant] : [])].join('/')
}

/** Whether `platform` is the one that `wanted` asks for; a variant that isn't asked for may be any. */
export function platformMatches(wanted: string, platform: string | undefined): boolean {
  return platform !== undefined && (platform === wanted || platform.startsWith(`${wanted}/`))
}
