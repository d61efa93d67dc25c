import type { Descriptor } from '../oci/manifest.ts'
import { MoveError } from './types.ts'

/** What an image runs on, as the image specification names it. */
export interface Platform {
  readonly os: string
  readonly architecture: string
  readonly variant?: string
}

/** Node's words for what this machine is, in those of Go. */
const ARCHITECTURES: Readonly<Record<string, string>> = {
  x64: 'amd64',
  ia32: '386',
  arm64: 'arm64',
  arm: 'arm',
  s390x: 's390x',
  ppc64: 'ppc64le',
  riscv64: 'riscv64'
}

/** That of this machine, for Linux containers. */
export function ownPlatform(): Platform {
  return { os: 'linux', architecture: ARCHITECTURES[process.arch] ?? process.arch }
}

/** `linux/arm64/v8` */
export function platformText({ os, architecture, variant }: Platform): string {
  return [os, architecture, ...(variant === undefined || variant === '' ? [] : [variant])].join('/')
}

/**
 * Reads `os/architecture[/variant]`.
 *
 * @throws {MoveError}
 */
export function parsePlatform(text: string): Platform {
  const match = /^([a-z0-9]+)\/([a-z0-9_]+)(?:\/([a-z0-9.]+))?$/.exec(text)
  if (match === null)
    throw new MoveError(`'${text}' is no platform: write it like linux/arm64 or linux/arm/v7`)
  const [, os = '', architecture = '', variant] = match
  return { os, architecture, ...(variant !== undefined && { variant }) }
}

/** @throws {MoveError} for the config of an image that says that it is for another platform */
export function checkConfig(config: Uint8Array, wanted: Platform, name: string): void {
  const { os, architecture, variant } = platformOf(config)
  // what is no image has none
  if (os === undefined || architecture === undefined) return
  if (os !== wanted.os || architecture !== wanted.architecture)
    throw new MoveError(
      `${name} is for ${platformText({ os, architecture, variant })}, not ${platformText(wanted)}`
    )
}

function platformOf(config: Uint8Array): Partial<Platform> {
  try {
    return (JSON.parse(Buffer.from(config).toString()) ?? {}) as Partial<Platform>
  } catch {
    // what is no JSON is no image's config: it has no platform
    return {}
  }
}

/**
 * The child of an index for a platform; of several, one whose variant fits.
 *
 * @throws {MoveError} that says which there are
 */
export function childFor(children: readonly Descriptor[], wanted: Platform, name: string): Descriptor {
  const fits = children.filter(
    ({ platform }) => platform?.os === wanted.os && platform.architecture === wanted.architecture
  )
  const exact = fits.find(({ platform }) => (platform?.variant ?? '') === (wanted.variant ?? ''))
  const found = exact ?? (wanted.variant === undefined ? fits[0] : undefined)
  if (found !== undefined) return found
  const there = children
    .map(({ platform }) => (platform ? platformText(platform as Platform) : ''))
    .filter((text) => text !== '' && !text.startsWith('unknown'))
  throw new MoveError(
    `${name} is not there for ${platformText(wanted)}; it is for ${there.join(', ') || 'no platform that it names'} (--platform)`
  )
}
