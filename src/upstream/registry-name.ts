import { clip } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import { BUILT_IN, type KnownRegistry } from './built-in.ts'

/** A registry as somebody names it, and what follows: a repository, perhaps with a tag or digest. */
export interface NamedRegistry {
  /** Where it answers: `https://registry-1.docker.io` for Docker Hub. */
  readonly url: string
  readonly path: string
}

/** What is known of the registry that has this host, by whatever name. */
export function knownAt(host: string): KnownRegistry | undefined {
  return BUILT_IN.find(
    ({ domain, url, aliases }) => domain === host || new URL(url).host === host || aliases.includes(host)
  )
}

/** What `docker login` files the credentials of a server under. */
export function loginNamesOf({ host }: URL): readonly string[] {
  return [host, `https://${host}`, ...(knownAt(host)?.loginNames ?? [])]
}

/**
 * Reads a registry that is named as one, whichever way people have of that; `undefined` for what isn't.
 *
 * - `https://HOST/NAME`, `http://HOST/NAME`
 * - `docker://HOST/NAME` as skopeo writes it, or `registry:HOST/NAME`; without a host, Docker Hub's
 * - `HOST:PORT/NAME`, `localhost:5000/NAME`
 *
 * Plain HTTP is only for servers on this machine, or where a URL says so.
 *
 * @throws {RegistryError} NAME_INVALID
 */
export function parseRegistry(text: string): NamedRegistry | undefined {
  const given = /^(?:(https?):\/\/|(docker):\/\/|(registry):)(.*)$/i.exec(text)
  if (given === null && !/^(?:[a-z0-9.-]+|\[[0-9a-f:]+\]):\d{1,5}(?:\/|$)/i.test(text)) return undefined
  const [, http, docker, registry, rest = text] = given ?? []
  const [first = '', ...below] = rest.split('/')
  // alone, `alpine:1` has a tag and no port
  const looksLikeHost = (below.length > 0 ? /[.:]|^localhost$/ : /\.|^(?:localhost|\[)/).test(first)
  const isHost = http !== undefined || given === null || looksLikeHost
  const hub = docker !== undefined || registry !== undefined ? !isHost : false
  const host = (hub ? 'docker.io' : first).toLowerCase()
  const known = knownAt(host)
  const scheme = http?.toLowerCase() ?? (isLoopback(host) ? 'http' : 'https')
  const at = known !== undefined && scheme === 'https' ? known.url : `${scheme}://${host}`
  const rests = (hub ? rest : below.join('/')).replace(/^v2(?:\/|$)|\/+$/g, '')
  if (host === '' || !URL.canParse(at)) throw refused(text, 'it is not a URL, nor the address of a registry')
  const { origin, username, password, pathname, search, hash } = new URL(at)
  if (username !== '' || password !== '' || search + hash !== '' || /[?#]/.test(rests) || pathname !== '/')
    throw refused(text, 'a URL has neither a user nor a query here')
  let path: string
  try {
    path = decodeURIComponent(rests)
  } catch {
    throw refused(text, 'its path is not encoded as in URLs')
  }
  const library = known?.library
  return {
    url: origin,
    path: library === undefined || path === '' || path.includes('/') ? path : `${library}/${path}`
  }
}

const isLoopback = (host: string): boolean => /^(?:localhost|127\.\d+\.\d+\.\d+|\[::1\])(?::\d+)?$/.test(host)

function refused(text: string, why: string): RegistryError {
  return new RegistryError('NAME_INVALID', `'${clip(text)}' names no registry: ${why}`)
}
