import type { UpstreamSetting } from '../config/upstreams.ts'
import { DEFAULT_DOMAIN, looksLikeDomain, parseRepository, type RepositoryName } from '../oci/reference.ts'
import { BUILT_IN, type KnownRegistry } from './built-in.ts'

/** What repositories of other registries are called, and where others are looked for. */
export interface UpstreamNames {
  /** The domains that have an upstream. */
  readonly domains: ReadonlySet<string>
  /** The domain that `host` is a name of, perhaps with a port: itself, or an alias of an upstream. */
  domainOf(host: string): string | undefined
  /**
   * The one name of a repository that has several: `docker.io/alpine`, `index.docker.io/library/alpine` and
   * `proxy/docker.io/alpine` are `docker.io/library/alpine`. Others stay as they are.
   */
  canonical(name: RepositoryName): RepositoryName
  /** Where a repository of the default domain is looked for that isn't there. */
  elsewhere(name: RepositoryName): RepositoryName | undefined
}

/** The first component of names that say outright that they go to an upstream. */
const PREFIX = 'proxy/'

/** Makes them out of the settings. */
export function createNames(options: {
  settings: ReadonlyMap<string, UpstreamSetting>
  /** The domain where names are looked for that carry none and aren't here; none if empty. */
  standard?: string
  builtIn?: readonly KnownRegistry[]
}): UpstreamNames {
  const { settings, standard = '' } = options
  const known = new Map((options.builtIn ?? BUILT_IN).map((each) => [each.domain, each]))
  const all = new Set([...known.keys(), ...settings.keys()])
  const domains = new Set([...all].filter((domain) => settings.get(domain)?.off !== true))
  const aliases = new Map(
    [...domains].flatMap((domain) =>
      [...(known.get(domain)?.aliases ?? []), ...(settings.get(domain)?.aliases ?? [])].map(
        (alias) => [alias, domain] as const
      )
    )
  )

  /** A name of one component below a domain that keeps those in a library. */
  const inLibrary = (domain: string, repository: string): string => {
    const library = known.get(domain)?.library
    return library === undefined || repository.includes('/') ? repository : `${library}/${repository}`
  }

  const domainOf = (host: string): string | undefined => {
    const name = host.toLowerCase().replace(/\.$/, '')
    return aliases.get(name) ?? (domains.has(name) ? name : undefined)
  }

  function canonical(name: RepositoryName): RepositoryName {
    if (name.place.kind !== 'domain') return name
    let { domain } = name.place
    let { repository } = name
    if (!looksLikeDomain(domain) && repository.startsWith(PREFIX)) {
      const { place, repository: below } = parseRepository(repository.slice(PREFIX.length))
      if (place.kind !== 'domain' || domainOf(place.domain) === undefined) return name
      domain = place.domain
      repository = below
    }
    const found = domainOf(domain)
    if (found === undefined) return name
    return { ...name, place: { kind: 'domain', domain: found }, repository: inLibrary(found, repository) }
  }

  return {
    domains,
    domainOf,
    canonical,
    elsewhere(name) {
      if (standard === '' || name.place.kind !== 'domain' || name.place.domain !== DEFAULT_DOMAIN)
        return undefined
      return canonical({ ...name, place: { kind: 'domain', domain: standard } })
    }
  }
}
