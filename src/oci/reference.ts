import { clip, type Digest, isDigest } from './digest.ts'
import { RegistryError } from './errors.ts'

/** The domain of names that carry none. */
export const DEFAULT_DOMAIN = 'local'

/** The longest repository name accepted, in characters: the limit that the clients share. */
const MAX_NAME = 255

/**
 * Where a repository is looked for.
 *
 * - `domain`: a registry tree that this gateway may write, or that a domain publishes
 * - `ipfs`, `ipns`: a root named in the request itself, read only
 */
export type Place =
  | { readonly kind: 'domain'; readonly domain: string }
  | { readonly kind: 'ipfs'; readonly cid: string }
  | { readonly kind: 'ipns'; readonly name: string }

/** A parsed repository name. */
export interface RepositoryName {
  /** The name as the client asked for it, for messages. */
  readonly asked: string
  readonly place: Place
  /** The repository below its place: `app`, `team/app`. Never empty. */
  readonly repository: string
}

/** What a manifest is asked for by. */
export type Reference =
  | { readonly kind: 'tag'; readonly tag: string }
  | { readonly kind: 'digest'; readonly digest: Digest }

/** One component of a repository name, as the distribution specification spells it. */
const COMPONENT = /^[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*$/

/** A tag, likewise. */
const TAG = /^[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}$/

/** Whether Docker would read this first component as a registry's host rather than as part of a name. */
export function looksLikeDomain(component: string): boolean {
  return component.includes('.') || component === 'localhost'
}

/**
 * Reads the repository name of a request.
 *
 * The first component is the domain when it looks like one; otherwise the name belongs to
 * `defaultDomain` (which the caller takes from `?ns=` or from the Host header where the operator
 * listed it, and {@link DEFAULT_DOMAIN} failing both). `ipfs/<CID>/…` and `ipns/<name>/…` name a root.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#pulling-manifests
 * @throws {RegistryError} NAME_INVALID
 */
export function parseRepository(name: string, defaultDomain: string = DEFAULT_DOMAIN): RepositoryName {
  if (name.length > MAX_NAME) {
    throw invalid(name, `it has ${name.length} characters and at most ${MAX_NAME} are allowed`)
  }
  const parts = name.split('/')
  const [first = '', second = ''] = parts
  if ((first === 'ipfs' || first === 'ipns') && parts.length > 2) {
    const repository = parts.slice(2)
    checkComponents(name, repository)
    if (!/^[a-z0-9.-]+$/.test(second)) {
      throw invalid(name, `'${clip(second)}' is not a CIDv1 or a name in lower case`)
    }
    const place: Place = first === 'ipfs' ? { kind: 'ipfs', cid: second } : { kind: 'ipns', name: second }
    return { asked: name, place, repository: repository.join('/') }
  }
  checkComponents(name, parts)
  if (parts.length > 1 && looksLikeDomain(first)) {
    return { asked: name, place: { kind: 'domain', domain: first }, repository: parts.slice(1).join('/') }
  }
  return { asked: name, place: { kind: 'domain', domain: defaultDomain }, repository: name }
}

/** The name under which a client of this gateway asks for a repository of a domain. */
export function displayName(domain: string, repository: string): string {
  return domain === DEFAULT_DOMAIN ? repository : `${domain}/${repository}`
}

/**
 * Reads a domain: what may stand before the first slash of a name, or in `?ns=`.
 *
 * @throws {RegistryError} NAME_INVALID
 */
export function parseDomain(text: string): string {
  const domain = text.toLowerCase().replace(/\.$/, '')
  if (domain.length <= 253 && COMPONENT.test(domain)) return domain
  throw invalid(text, 'it is not a domain name')
}

/** A domain, and perhaps one image of it. */
export interface ImageOfDomain {
  readonly domain: string
  readonly repository?: string
  readonly tag?: string
}

/**
 * Reads `DOMAIN[/REPOSITORY[:TAG]]`.
 *
 * @throws {RegistryError} NAME_INVALID, TAG_INVALID
 */
export function parseImageOfDomain(text: string): ImageOfDomain {
  const slash = text.indexOf('/')
  if (slash === -1) return { domain: parseDomain(text) }
  const colon = text.indexOf(':', slash)
  const tag = colon === -1 ? undefined : text.slice(colon + 1)
  if (tag !== undefined && !isTag(tag)) throw new RegistryError('TAG_INVALID', `'${clip(tag)}' is not a tag`)
  const domain = parseDomain(text.slice(0, slash))
  if (!looksLikeDomain(domain))
    throw invalid(text, 'it does not begin with a domain, as example.com/app:1 does')
  const { repository } = parseRepository(
    `${domain}${text.slice(slash, tag === undefined ? undefined : colon)}`
  )
  return { domain, repository, ...(tag !== undefined && { tag }) }
}

/** Whether `text` is a valid tag. */
export function isTag(text: string): boolean {
  return TAG.test(text)
}

/**
 * Reads the reference of a manifest request: a digest where there is a colon, else a tag.
 * `undefined` means that it is neither, so nothing can be stored under it.
 */
export function parseReference(text: string): Reference | undefined {
  if (isDigest(text)) return { kind: 'digest', digest: text }
  return isTag(text) ? { kind: 'tag', tag: text } : undefined
}

function checkComponents(name: string, components: readonly string[]): void {
  for (const component of components) {
    if (!COMPONENT.test(component)) {
      throw invalid(
        name,
        component === ''
          ? 'it has an empty component'
          : `'${clip(component)}' may hold only lower-case letters and digits, separated by '.', '_', '__' or '-'`
      )
    }
  }
}

function invalid(name: string, why: string): RegistryError {
  return new RegistryError('NAME_INVALID', `'${clip(name)}' is not a repository name: ${why}`, {
    detail: { name: clip(name) }
  })
}
