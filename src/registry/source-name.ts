import { CID } from 'multiformats/cid'
import { clip } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import { DEFAULT_DOMAIN, type Place, parseDomain, parseReference, type Reference } from '../oci/reference.ts'
import { parseRegistry } from '../upstream/registry-name.ts'

/**
 * Where images are looked at.
 *
 * - `gateway`: by the names that clients ask this gateway for: local trees, and behind them what domains publish
 * - `tree`: one tree, wherever it is: what a domain publishes, a root, an IPNS name
 * - `published`: a root that this gateway published: `domain`, `domain@N` or `domain@CID`
 * - `registry`: another registry, or a gateway, over the OCI API
 */
export type SourceName =
  | { readonly kind: 'gateway' }
  | { readonly kind: 'tree'; readonly place: Place }
  | { readonly kind: 'published'; readonly root: string }
  | { readonly kind: 'registry'; readonly url: string; readonly path: string }

/** An image, and where it is looked for. */
export interface ImageName {
  readonly source: SourceName
  readonly repository: string
  readonly reference: Reference
}

/** What has no tag and no digest means this one, as for docker. */
const LATEST = 'latest'

/** How a source that is a tree of IPFS is written: `/ipfs/…`, `ipfs://…`, `ipfs/…`, and what follows the CID or name. */
const IN_IPFS = /^(?:\/?|dweb:\/)(ipfs|ipns)(?::\/\/|\/)([^/:@]+)(?:\/(.*))?$/

/**
 * Reads where images are looked at: a domain (what it publishes), `domain@N` (a root published here), `local`, a CID, an
 * IPNS name, a URL, or `HOST:PORT` as clients write a registry.
 *
 * @throws {RegistryError} NAME_INVALID
 */
export function parseSource(text: string): SourceName {
  const place = IN_IPFS.exec(text)
  if (place !== null) {
    const [, kind, name = '', below = ''] = place
    if (below !== '') throw refused(text, `a source ends behind ${kind}/${clip(name)}`)
    return treeOf(kind as 'ipfs' | 'ipns', name)
  }
  const registry = registryIn(text)
  if (registry !== undefined) return registry
  if (/^k(?:51|2)[a-z0-9]{50,}$/.test(text)) return treeOf('ipns', text)
  if (isCid(text)) return treeOf('ipfs', text)
  if (text.includes('@')) {
    const [domain = '', which = ''] = text.split('@')
    if (which === '') throw refused(text, "a number or a CID follows the '@'")
    return { kind: 'published', root: `${parseDomain(domain)}@${which}` }
  }
  if (text.includes('/')) throw refused(text, 'it has a path: name the image as an argument of its own')
  const domain = parseDomain(text)
  if (domain === DEFAULT_DOMAIN) return { kind: 'tree', place: { kind: 'domain', domain } }
  if (!domain.includes('.'))
    throw refused(text, 'it is no domain, CID, IPNS name or URL; for a host write http://HOST or HOST:PORT')
  return { kind: 'tree', place: { kind: 'ipns', name: domain } }
}

/**
 * Reads an image: `app:1`, `example.com/app@sha256:…`, `ipfs/<CID>/app:1`, `HOST:PORT/app:1`, `https://host/app:1`. In a
 * `source` of its own, the name is one of that source.
 *
 * @throws {RegistryError} NAME_INVALID, TAG_INVALID
 */
export function parseImage(text: string, source?: SourceName): ImageName {
  const { name, reference } = splitReference(text)
  return { ...parseRepositoryAt(name, source), reference }
}

/** Reads a repository likewise. @throws {RegistryError} NAME_INVALID */
export function parseRepositoryAt(text: string, source?: SourceName): Omit<ImageName, 'reference'> {
  if (source !== undefined) return within(source, text)
  const place = IN_IPFS.exec(text)
  if (place !== null) {
    const [, kind, name = '', below = ''] = place
    if (below === '') throw refused(text, 'no image is named behind it')
    return { source: treeOf(kind as 'ipfs' | 'ipns', name), repository: below }
  }
  const registry = text.includes('/') || text.startsWith('registry:') ? registryIn(text) : undefined
  if (registry !== undefined) {
    if (registry.path === '') throw refused(text, 'no image is named behind it')
    return { source: { ...registry, path: '' }, repository: registry.path }
  }
  return { source: { kind: 'gateway' }, repository: text }
}

/** How a source is written. */
export function sourceText(source: SourceName): string {
  if (source.kind === 'gateway') return 'this gateway'
  if (source.kind === 'published') return source.root
  if (source.kind === 'registry') return source.path === '' ? source.url : `${source.url}/${source.path}`
  const { place } = source
  if (place.kind === 'domain') return place.domain
  return place.kind === 'ipns' && place.name.includes('.')
    ? place.name
    : `${place.kind}/${place.kind === 'ipfs' ? place.cid : place.name}`
}

/** Whether a text names an image rather than all that a source has: it has a path behind the source, or a tag. */
export function namesImage(text: string): boolean {
  const registry = /^(?:(?:https?|docker):\/\/|registry:)(.*)$/.exec(text)?.[1]
  if (registry !== undefined) return /^[^/]+\/.*[:@]/.test(registry)
  if (IN_IPFS.test(text)) return (IN_IPFS.exec(text)?.[3] ?? '') !== ''
  if (/^(?:localhost|[^/:]*\.[^/:]*|\[.*\]):\d+$/.test(text)) return false
  if (text.includes('/')) return true
  if (isCid(text) || text === DEFAULT_DOMAIN) return false
  const [name = ''] = text.split(/[@:]/)
  return !name.includes('.') && !text.startsWith(`${DEFAULT_DOMAIN}@`)
}

function within(source: SourceName, repository: string): Omit<ImageName, 'reference'> {
  if (source.kind !== 'registry' || source.path === '') return { source, repository }
  return { source: { ...source, path: '' }, repository: `${source.path}/${repository}` }
}

function splitReference(text: string): { name: string; reference: Reference } {
  const start = Math.max(text.lastIndexOf('/'), text.startsWith('registry:') ? 'registry'.length : -1)
  const at = text.indexOf('@', start)
  const colon = text.indexOf(':', start + 1)
  const end = at !== -1 ? at : colon
  if (end === -1) return { name: text, reference: { kind: 'tag', tag: LATEST } }
  const reference = parseReference(text.slice(end + 1))
  if (reference === undefined || (at === -1) !== (reference.kind === 'tag'))
    throw new RegistryError(
      'TAG_INVALID',
      `'${clip(text.slice(end + 1))}' in '${clip(text)}' is not a ${at === -1 ? 'tag' : 'digest'}`
    )
  // `app:1@sha256:…`: the digest counts, as for docker
  const name = at !== -1 && colon !== -1 && colon < at ? text.slice(0, colon) : text.slice(0, end)
  return { name, reference }
}

/** A registry that is named as one: {@link parseRegistry}. */
function registryIn(text: string): (SourceName & { kind: 'registry' }) | undefined {
  const named = parseRegistry(text)
  return named === undefined ? undefined : { kind: 'registry', ...named }
}

function treeOf(kind: 'ipfs' | 'ipns', name: string): SourceName {
  if (kind === 'ipns') {
    if (!name.includes('.') && /[A-Z]/.test(name)) throw refused(name, 'write an IPNS name in its form k51…')
    return { kind: 'tree', place: { kind: 'ipns', name: name.toLowerCase() } }
  }
  if (!isCid(name)) throw refused(name, 'it is not a CID')
  return { kind: 'tree', place: { kind: 'ipfs', cid: CID.parse(name).toV1().toString() } }
}

function isCid(text: string): boolean {
  if (!/^(?:Qm[1-9A-HJ-NP-Za-km-z]{44}|[bkzf][a-zA-Z0-9]{30,})$/.test(text)) return false
  try {
    CID.parse(text)
    return true
  } catch {
    return false
  }
}

function refused(text: string, why: string): RegistryError {
  return new RegistryError('NAME_INVALID', `'${clip(text)}' cannot be looked at: ${why}`)
}

/** A reference as it is written behind a name. */
export function referenceText(reference: Reference): string {
  return reference.kind === 'tag' ? `:${reference.tag}` : `@${reference.digest}`
}
