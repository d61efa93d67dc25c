import { createRequire } from 'node:module'

/** A file that makes a client use the gateway. */
export interface ClientFile {
  readonly path: string
  /** Its content, given what is there now. Throws an Error that says why it can't be put into what is there. */
  readonly content: (before: string | undefined) => string
  /** What else is to be done, one thing a line. */
  readonly afterwards: readonly string[]
  /** Where the client, set up so, asks the gateway for a manifest, below `/v2/`. */
  readonly asks: (image: TriedImage) => string
  /** What keeps it from getting one that the gateway could have. */
  readonly hint?: string
}

/** An image that is tried: its domain, its repository there, its tag or digest. */
export interface TriedImage {
  readonly domain: string
  readonly repository: string
  readonly reference: string
}

/** By the domain in front: whoever doesn't say which registry it means. */
const byPrefix: ClientFile['asks'] = ({ domain, repository, reference }) =>
  `${domain}/${repository}/manifests/${reference}`

/** As containerd asks a mirror. */
const byNamespace: ClientFile['asks'] = ({ domain, repository, reference }) =>
  `${repository}/manifests/${reference}?ns=${encodeURIComponent(domain)}`

/** Where the gateway is, and whose images it has. */
export interface Target {
  /** `host:port` as the client reaches it; with TLS also `host`. */
  readonly at: string
  /** Whether it speaks TLS, with a certificate that the client trusts. */
  readonly tls?: boolean
  readonly domains: readonly string[]
}

const MARK = '# written by seaway setup'

/** A file of our own; one that somebody else wrote is left to them. */
function own(lines: readonly string[]): ClientFile['content'] {
  const text = [MARK, ...lines, ''].join('\n')
  return (before) => {
    if (before !== undefined && before.trim() !== '' && !before.startsWith(MARK))
      throw new Error('it has other settings already: put these lines into it yourself')
    return text
  }
}

function isLoopback(at: string): boolean {
  return /^(?:127\.|localhost:|\[::1\])/.test(at)
}

const urlOf = ({ at, tls }: Target): string => `${tls === true ? 'https' : 'http'}://${at}`

function listWith(list: unknown, item: string): unknown[] {
  const before = Array.isArray(list) ? (list as unknown[]) : []
  return before.includes(item) ? before : [item, ...before]
}

/** What each client needs, by its name. */
export const CLIENTS: Readonly<Record<string, (target: Target) => ClientFile>> = {
  docker: (target) => ({
    path: '/etc/docker/daemon.json',
    content(before) {
      const json: unknown = before === undefined || before.trim() === '' ? {} : JSON.parse(before)
      if (typeof json !== 'object' || json === null || Array.isArray(json))
        throw new Error('it is no JSON object')
      const settings = json as Record<string, unknown>
      settings['registry-mirrors'] = listWith(settings['registry-mirrors'], urlOf(target))
      if (target.tls !== true && !isLoopback(target.at))
        settings['insecure-registries'] = listWith(settings['insecure-registries'], target.at)
      return `${JSON.stringify(settings, undefined, 2)}\n`
    },
    afterwards: [
      'systemctl reload docker',
      'start the gateway with SEAWAY_DEFAULT_UPSTREAM=docker.io: docker asks mirrors for bare names, and for Docker Hub only',
      `images of other registries are pulled as ${target.at}/quay.io/…`
    ],
    // a mirror is Docker Hub's, and hears no more than the name there
    asks: (image) =>
      image.domain === 'docker.io' ? `${image.repository}/manifests/${image.reference}` : byPrefix(image),
    hint: 'docker asks for bare names, so the gateway must run with SEAWAY_DEFAULT_UPSTREAM=docker.io'
  }),

  containerd: (target) => ({
    path: '/etc/containerd/certs.d/_default/hosts.toml',
    content: own([`[host."${urlOf(target)}"]`, '  capabilities = ["pull", "resolve"]']),
    afterwards: [
      'in /etc/containerd/config.toml, once: [plugins."io.containerd.grpc.v1.cri".registry] config_path = "/etc/containerd/certs.d"',
      'systemctl restart containerd, if that line is new; ctr and nerdctl take --hosts-dir /etc/containerd/certs.d'
    ],
    asks: byNamespace
  }),

  podman: ({ at, tls, domains }) => ({
    path: '/etc/containers/registries.conf.d/50-seaway.conf',
    content: own(
      domains.flatMap((domain) => [
        '[[registry]]',
        `location = "${domain}"`,
        '[[registry.mirror]]',
        `location = "${at}/${domain}"`,
        ...(tls === true ? [] : ['insecure = true']),
        ''
      ])
    ),
    afterwards: ['nothing: podman, buildah, skopeo and CRI-O read it the next time'],
    asks: byPrefix
  }),

  k3s: (target) => ({
    path: '/etc/rancher/k3s/registries.yaml',
    content(before) {
      // loaded here, as for all that few commands need
      const { parseDocument } = createRequire(import.meta.url)('yaml') as typeof import('yaml')
      const document = parseDocument(before ?? '')
      if (document.errors.length > 0) throw new Error('it is no YAML')
      const path = ['mirrors', '*', 'endpoint']
      const there: unknown = document.getIn(path)
      const known = there === undefined ? [] : (document.toJS() as Endpoints).mirrors?.['*']?.endpoint
      document.setIn(path, listWith(known, urlOf(target)))
      return document.toString()
    },
    afterwards: ['systemctl restart k3s (or k3s-agent), on every node'],
    asks: byNamespace
  }),

  buildkit: ({ at, tls, domains }) => ({
    path: '/etc/buildkit/buildkitd.toml',
    content: own([
      ...domains.flatMap((domain) => [`[registry."${domain}"]`, `  mirrors = ["${at}/${domain}"]`]),
      ...(tls === true ? [] : [`[registry."${at}"]`, '  http = true'])
    ]),
    afterwards: [
      'restart buildkitd; or docker buildx create --use --buildkitd-config /etc/buildkit/buildkitd.toml',
      'a builder in a container does not reach 127.0.0.1 of this machine: give it the network of the host, or --at another address'
    ],
    asks: byPrefix
  })
}

interface Endpoints {
  readonly mirrors?: Record<string, { readonly endpoint?: unknown } | undefined>
}
