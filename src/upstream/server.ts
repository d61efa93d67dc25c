import type { Proxies } from '../config/upstreams.ts'
import { createPolicy } from '../ipfs/policy.ts'
import { authoritiesOf } from './authorities.ts'
import { createDispatchers, createSocketDispatchers } from './dispatch.ts'
import { createWire, type Wire } from './wire.ts'

/** A server that somebody names, and how it is asked. */
export interface Server {
  readonly url: URL
  /** Not there for one that is reached over the network. */
  readonly socketPath?: string
  /** How messages call it. */
  readonly name: string
  readonly wire: Wire
}

/** Where somebody is reached, and how. */
export interface ServerOptions {
  /** The host of a Unix socket is only a word. */
  readonly url: string
  readonly socketPath?: string
  /** How messages call it; by its host unless given. */
  readonly name?: string
  /** For an answer to begin, and for its silence, in milliseconds. */
  readonly timeoutMs: number
  readonly proxies: Proxies
  /** A file with certificates of further authorities, PEM. */
  readonly ca?: string | undefined
}

/** Opens a server: an engine, a gateway, a registry. @throws {RegistryError} REQUEST_INVALID for authorities that can't be used */
export function openServer(options: ServerOptions): Server {
  const url = new URL(options.url)
  // whoever types a URL may be told to go anywhere by it: the requests are theirs
  const policy = createPolicy('any')
  const { timeoutMs, proxies, socketPath, name } = options
  const dispatchers =
    socketPath === undefined
      ? createDispatchers({ ca: authoritiesOf(url, options.ca), timeoutMs, policy, proxies })
      : createSocketDispatchers(socketPath, timeoutMs)
  const wire = createWire({
    dispatchers,
    timeoutMs,
    trusted: [url],
    policy,
    trusting: `name the certificate in SEAWAY_TRUSTED_CA, or put it into /etc/docker/certs.d/${url.host}/ca.crt`,
    ...(name !== undefined && { name })
  })
  return { url, name: name ?? url.host, wire, ...(socketPath !== undefined && { socketPath }) }
}
