/** A registry that others pull through from: small, in this process, counting, and faulty where a test says so. */
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import { createServer as createTlsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { digestOf, type Made, manifest, OCI_CONFIG, OCI_INDEX, OCI_LAYER } from './oci-client.ts'

/** Answers in the registry's stead; `false` leaves it to the registry. */
export type Fault = (req: IncomingMessage, res: ServerResponse) => boolean | undefined

/** Who is let in. */
export type Login =
  | { kind: 'basic'; user: string; password: string }
  | { kind: 'bearer'; user?: string; password?: string; expiresIn?: number; identityToken?: string }

/** What {@link startUpstreamRegistry} starts. */
export interface UpstreamRegistry {
  readonly url: string
  readonly port: number
  /** `METHOD path` of each request, token requests too. */
  readonly asked: string[]
  /** The headers of each request, in the same order. */
  readonly headers: IncomingMessage['headers'][]
  /** How many bytes of blobs were sent. */
  readonly sent: number
  fault: Fault | undefined
  /** Whether it knows ranges. */
  ranges: boolean
  count(pattern: RegExp): number
  blob(bytes: Uint8Array | string): string
  /** Puts an image under a tag: a config and layers of these contents. */
  image(
    repository: string,
    tag: string,
    layers: readonly (Uint8Array | string)[]
  ): Made & { layers: string[] }
  /** Puts an index of images under a tag. */
  index(repository: string, tag: string, children: readonly Made[]): Made
  untag(repository: string, tag: string): void
  stop(): Promise<void>
}

/** Starts it on a free port of 127.0.0.1. */
export async function startUpstreamRegistry(
  options: { login?: Login; tls?: { key: string; cert: string } } = {}
): Promise<UpstreamRegistry> {
  const { login } = options
  const blobs = new Map<string, Buffer>()
  const manifests = new Map<string, Made>()
  const tags = new Map<string, string>()
  const asked: string[] = []
  const headers: IncomingMessage['headers'][] = []
  const tokens = new Set<string>()
  let sent = 0
  const state = { fault: undefined as Fault | undefined, ranges: true }

  const refuse = (res: ServerResponse, status: number, more: Record<string, string> = {}) =>
    void res
      .writeHead(status, { 'content-type': 'application/json', ...more })
      .end(
        JSON.stringify({ errors: [{ code: status === 404 ? 'MANIFEST_UNKNOWN' : 'DENIED', message: 'no' }] })
      )

  /** Whether somebody may pass; says what is missing otherwise. */
  function admitted(req: IncomingMessage, res: ServerResponse, repository: string): boolean {
    if (login === undefined) return true
    const shown = req.headers.authorization ?? ''
    if (login.kind === 'basic') {
      if (shown === basic(login.user, login.password)) return true
      refuse(res, 401, { 'www-authenticate': 'Basic realm="a, \\"quoted\\" one"' })
      return false
    }
    if (tokens.has(shown)) return true
    const scope = `repository:${repository}:pull`
    refuse(res, 401, {
      'www-authenticate': `Bearer realm="${url()}/token",service="the, service",scope="${scope}"`
    })
    return false
  }

  function token(req: IncomingMessage, res: ServerResponse): void {
    if (login?.kind !== 'bearer') return refuse(res, 404)
    const give = () => {
      const value = `t${tokens.size}`
      tokens.add(`Bearer ${value}`)
      res.end(JSON.stringify({ token: value, expires_in: login.expiresIn ?? 300 }))
    }
    if (req.method === 'POST') {
      let text = ''
      req.on('data', (chunk: Buffer) => (text += chunk.toString()))
      req.on('end', () =>
        new URLSearchParams(text).get('refresh_token') === login.identityToken ? give() : refuse(res, 401)
      )
      return
    }
    const { user, password = '' } = login
    if (user !== undefined && req.headers.authorization !== basic(user, password)) refuse(res, 401)
    else give()
  }

  function answer(req: IncomingMessage, res: ServerResponse): void {
    asked.push(`${req.method} ${req.url}`)
    headers.push(req.headers)
    if (state.fault?.(req, res) === true) return
    const path = (req.url ?? '').split('?')[0] ?? ''
    if (path === '/token') return token(req, res)
    const [, repository = '', kind, reference = ''] =
      /^\/v2\/(.+)\/(manifests|blobs|tags)\/([^/]+)$/.exec(path) ?? []
    if (!admitted(req, res, repository)) return
    if (kind === 'tags') {
      const all = [...tags.keys()].filter((key) => key.startsWith(`${repository}:`))
      res.end(
        JSON.stringify({ name: repository, tags: all.map((key) => key.slice(repository.length + 1)).sort() })
      )
    } else if (kind === 'manifests') {
      const digest = reference.includes(':') ? reference : (tags.get(`${repository}:${reference}`) ?? '')
      const found = manifests.get(`${repository}@${digest}`)
      if (found === undefined) return refuse(res, 404)
      res.writeHead(200, {
        'content-type': found.mediaType,
        'docker-content-digest': found.digest,
        'content-length': String(found.size),
        ...(res.hasHeader('ratelimit-remaining') ? {} : { 'ratelimit-remaining': '99;w=21600' })
      })
      res.end(req.method === 'HEAD' ? undefined : found.bytes)
    } else if (kind === 'blobs') {
      const bytes = blobs.get(reference)
      if (bytes === undefined) return refuse(res, 404)
      const [, from] = (state.ranges && /^bytes=(\d+)-$/.exec(req.headers.range ?? '')) || []
      const body = bytes.subarray(Number(from ?? 0))
      res.writeHead(from === undefined ? 200 : 206, {
        'content-length': String(body.length),
        ...(from !== undefined && { 'content-range': `bytes ${from}-${bytes.length - 1}/${bytes.length}` })
      })
      if (req.method === 'HEAD') return void res.end()
      sent += body.length
      res.end(body)
    } else refuse(res, 404)
  }

  const server: Server =
    options.tls === undefined ? createServer(answer) : createTlsServer(options.tls, answer)
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  const url = () => `${options.tls === undefined ? 'http' : 'https'}://127.0.0.1:${port}`
  const put = (repository: string, tag: string, made: Made) => {
    manifests.set(`${repository}@${made.digest}`, made)
    tags.set(`${repository}:${tag}`, made.digest)
  }
  const blob = (bytes: Uint8Array | string) => {
    blobs.set(digestOf(bytes), Buffer.from(bytes))
    return digestOf(bytes)
  }
  return {
    get fault() {
      return state.fault
    },
    set fault(fault) {
      state.fault = fault
    },
    get ranges() {
      return state.ranges
    },
    set ranges(ranges) {
      state.ranges = ranges
    },
    url: url(),
    port,
    asked,
    headers,
    get sent() {
      return sent
    },
    count: (pattern: RegExp) => asked.filter((line) => pattern.test(line)).length,
    blob,
    image(repository: string, tag: string, layers: readonly (Uint8Array | string)[]) {
      const config = JSON.stringify({ architecture: 'amd64', os: 'linux', tag, layers: layers.length })
      const described = (bytes: Uint8Array | string, mediaType: string) => ({
        mediaType,
        digest: blob(bytes),
        size: Buffer.byteLength(bytes)
      })
      const made = manifest({
        config: described(config, OCI_CONFIG),
        layers: layers.map((bytes) => described(bytes, OCI_LAYER))
      })
      put(repository, tag, made)
      return { ...made, layers: layers.map((bytes) => digestOf(bytes)) }
    },
    index(repository: string, tag: string, children: readonly Made[]) {
      const made = manifest(
        {
          manifests: children.map(({ mediaType, digest, size, platform }) => ({
            mediaType,
            digest,
            size,
            platform
          }))
        },
        OCI_INDEX
      )
      put(repository, tag, made)
      return made
    },
    untag: (repository: string, tag: string) => void tags.delete(`${repository}:${tag}`),
    async stop() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    }
  }
}

function basic(user: string, password: string): string {
  return `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`
}
