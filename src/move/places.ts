import { isDigest } from '../oci/digest.ts'
import { reason } from '../oci/errors.ts'
import { DEFAULT_DOMAIN, displayName, isTag, looksLikeDomain, parseRepository } from '../oci/reference.ts'
import { parseRegistry } from '../upstream/registry-name.ts'
import { MoveError } from './types.ts'

/** Where images come from or go to, as it is written on the command line. */
export type Place =
  | { readonly kind: 'gateway'; readonly image: ImageName }
  | EnginePlace
  | FilePlace<'oci'>
  | FilePlace<'archive'>
  | FilePlace<'car'>
  | { readonly kind: 'registry'; readonly url: URL; readonly image: ImageName }

/** An image of an engine. */
export interface EnginePlace {
  readonly kind: 'docker' | 'podman'
  readonly image: string
}

/** An image in a folder or file: a tag, a name or a digest; none for all, or for what the other side calls it. */
export interface FilePlace<Kind extends 'oci' | 'archive' | 'car'> {
  readonly kind: Kind
  readonly path: string
  readonly image: string | undefined
}

/** A repository and what of it. */
export interface ImageName {
  readonly repository: string
  readonly tag: string | undefined
  readonly digest: string | undefined
}

/** How people write that a name is one of a root. */
const IN_IPFS = /^(?:\/|dweb:\/)?(ipfs|ipns)(?::\/\/|\/)/

/** What is written before the colon of places that aren't the gateway. */
const SCHEMES = ['docker', 'podman', 'oci', 'archive', 'car'] as const

/**
 * Reads a place. Without a scheme it is a name in the gateway, or what `plain` says.
 *
 * - `docker:NAME`, `podman:NAME`: an image of an engine
 * - `oci:FOLDER[:TAG]`, `archive:FILE[:NAME]`, `car:FILE[:NAME]`, `-` for stdin and stdout
 * - `registry:HOST/NAME`, `docker://HOST/NAME`, `https://HOST/NAME`, `http://HOST/NAME`, and, where a name is not the
 *   engine's, `HOST:PORT/NAME`: a registry, as {@link parseRegistry} reads it
 *
 * @throws {MoveError}
 */
export function parsePlace(text: string, plain: 'gateway' | 'docker' | 'podman' = 'gateway'): Place {
  if (text === '-') return { kind: 'archive', path: '-', image: undefined }
  const scheme = SCHEMES.find((each) => text.startsWith(`${each}:`) && !text.startsWith('docker://'))
  const written = /^(?:(?:https?|docker):\/\/|registry:)/.test(text)
  // without a path behind it, HOST:PORT is a name with a tag
  if (written || (plain === 'gateway' && scheme === undefined && text.includes('/'))) {
    const registry = registryPlace(text)
    if (registry !== undefined) return registry
  }
  const rest = scheme === undefined ? text : text.slice(scheme.length + 1)
  if (rest === '') throw new MoveError(`'${text}' names nothing: write ${text}NAME`)
  switch (scheme) {
    case undefined:
      // a name may begin like a scheme: docker:1 is Docker's own image
      return plain === 'gateway'
        ? { kind: 'gateway', image: parseImage(text.replace(IN_IPFS, '$1/')) }
        : engineImage(plain, text)
    case 'docker':
    case 'podman':
      return engineImage(scheme, rest)
    default:
      return { kind: scheme, ...splitPath(rest) }
  }
}

/**
 * Reads `NAME[:TAG][@DIGEST]`; the tag is `latest` where neither is given.
 *
 * @throws {MoveError} for what Docker would refuse
 */
export function parseImage(text: string): ImageName {
  const at = text.indexOf('@')
  const digest = at === -1 ? undefined : text.slice(at + 1)
  const named = at === -1 ? text : text.slice(0, at)
  const colon = named.lastIndexOf(':')
  const hasTag = colon > named.lastIndexOf('/')
  const tag = hasTag ? named.slice(colon + 1) : undefined
  const repository = hasTag ? named.slice(0, colon) : named
  if (digest !== undefined && !isDigest(digest))
    throw new MoveError(`'${text}' has no digest after its @: sha256:<64 hex> is one`)
  if (tag !== undefined && !isTag(tag))
    throw new MoveError(
      `'${text}' has no valid tag: letters, digits, '_', '.' and '-' are allowed, at most 128`
    )
  try {
    parseRepository(repository)
  } catch (error) {
    throw new MoveError(reason(error), { cause: error })
  }
  return { repository, tag: tag ?? (digest === undefined ? 'latest' : undefined), digest }
}

/** What is asked for in an image's repository: its digest before its tag. */
export function referenceOf({ tag, digest }: ImageName): string {
  return digest ?? tag ?? 'latest'
}

/** An image's name as one writes it. */
export function imageText({ repository, tag, digest }: ImageName): string {
  return `${repository}${tag === undefined ? '' : `:${tag}`}${digest === undefined ? '' : `@${digest}`}`
}

/**
 * The name under which an image of an engine or archive is kept in the gateway: without the gateway's own address, or
 * another registry's port, before it; below `domain` if given, in place of the domain that it has.
 */
export function nameInGateway(text: string, domain: string | undefined): ImageName {
  let name = text
  // an address is where somebody pushed it to, and no domain
  const host = /^(?:localhost|\d+\.\d+\.\d+\.\d+|\[[0-9a-f:]+\]|[^/:]+(?=:\d+\/))(?::\d+)?\//i.exec(name)?.[0]
  if (host !== undefined) name = name.slice(host.length)
  const image = parseImage(name)
  if (domain === undefined) return image
  const [first = '', ...rest] = image.repository.split('/')
  const below = looksLikeDomain(first) && rest.length > 0 ? rest.join('/') : image.repository
  return { ...image, repository: displayName(domain === DEFAULT_DOMAIN ? DEFAULT_DOMAIN : domain, below) }
}

/** Whether an engine takes this for an image's id, and not for its name. */
export const isImageId = (image: string): boolean => /^(?:sha256:)?[0-9a-f]{12,64}$/.test(image)

function engineImage(kind: 'docker' | 'podman', image: string): Place {
  if (!/^[\w][\w./:@+-]*$/.test(image)) throw new MoveError(`'${image}' is no name that ${kind} takes`)
  if (!isImageId(image) && /[A-Z]/.test(image.split(/[:@]/)[0]?.replace(/^[^/]*\.[^/]*\//, '') ?? ''))
    throw new MoveError(`'${image}' is a name that ${kind} refuses: repository names are in lower case`)
  return { kind, image }
}

/** `PATH[:IMAGE]`; a path with a colon in it must end in one. */
function splitPath(text: string): { path: string; image: string | undefined } {
  if (text.endsWith(':')) return { path: text.slice(0, -1), image: undefined }
  const match = /^(.*?[^:]):([^/].*)$/.exec(text)
  if (match === null) return { path: text, image: undefined }
  return { path: match[1] as string, image: match[2] }
}

function registryPlace(text: string): Place | undefined {
  let named: ReturnType<typeof parseRegistry>
  try {
    named = parseRegistry(text)
  } catch (error) {
    throw new MoveError(reason(error), { cause: error })
  }
  if (named === undefined) return undefined
  if (named.path === '')
    throw new MoveError(`'${text}' names no image: write ${text}${/[/:]$/.test(text) ? '' : '/'}NAME`)
  return { kind: 'registry', url: new URL(named.url), image: parseImage(named.path) }
}
