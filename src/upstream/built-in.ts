/** What is known of a registry without being set. */
export interface KnownRegistry {
  readonly domain: string
  readonly url: string
  /** Other names that clients have for it. */
  readonly aliases: readonly string[]
  /** What `docker login` files its credentials under, beside its host. */
  readonly loginNames: readonly string[]
  /** Where names of one component are looked for: `alpine` is `library/alpine`. */
  readonly library?: string
  /** An image that is there for asking how much one may still pull. */
  readonly probe?: { readonly repository: string; readonly reference: string }
}

const plain = (domain: string): KnownRegistry => ({
  domain,
  url: `https://${domain}`,
  aliases: [],
  loginNames: []
})

/** The registries that are pulled through unless they are switched off. */
export const BUILT_IN: readonly KnownRegistry[] = [
  {
    domain: 'docker.io',
    url: 'https://registry-1.docker.io',
    aliases: ['index.docker.io', 'registry-1.docker.io', 'registry.hub.docker.com'],
    loginNames: ['https://index.docker.io/v1/', 'index.docker.io', 'docker.io'],
    library: 'library',
    probe: { repository: 'ratelimitpreview/test', reference: 'latest' }
  },
  plain('ghcr.io'),
  plain('quay.io'),
  plain('registry.k8s.io'),
  plain('gcr.io'),
  plain('public.ecr.aws'),
  plain('mcr.microsoft.com')
]
