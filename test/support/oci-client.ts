/** A registry client as small as the protocol allows: one request a call, everything visible. */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { Agent, type IncomingHttpHeaders, request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { Readable } from 'node:stream'

export const OCI_MANIFEST = 'application/vnd.oci.image.manifest.v1+json'
export const OCI_INDEX = 'application/vnd.oci.image.index.v1+json'
export const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json'
export const DOCKER_LIST = 'application/vnd.docker.distribution.manifest.list.v2+json'
export const OCI_CONFIG = 'application/vnd.oci.image.config.v1+json'
export const OCI_LAYER = 'application/vnd.oci.image.layer.v1.tar'
export const EMPTY = 'application/vnd.oci.empty.v1+json'

/** An answer with its whole body. */
export interface Answer {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
  /** The body as JSON. */
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- a test says what it expects
  json<T = Record<string, unknown>>(): T
  /** The code of a refusal's first error. */
  readonly code: string | undefined
  /** The client's port of the connection on which it came. */
  readonly localPort: number | undefined
}

/** What a request carries. A `Readable` body goes out chunked. */
export interface Ask {
  headers?: Record<string, string | string[]>
  body?: Uint8Array | string | Readable
  agent?: Agent
}

/** A descriptor as tests write it. */
export interface Descriptor {
  mediaType: string
  digest: string
  size: number
  [key: string]: unknown
}

/** A manifest that was made, and what names it. */
export interface Made extends Descriptor {
  bytes: Buffer
}

export const digestOf = (bytes: Uint8Array | string, algorithm = 'sha256'): string =>
  `${algorithm}:${createHash(algorithm).update(bytes).digest('hex')}`

/** Talks to whatever listens on a port of 127.0.0.1, which may change between calls. */
export function ociClient(server: { readonly port: number }) {
  function call(method: string, path: string, ask: Ask = {}): Promise<Answer> {
    return new Promise((resolve, reject) => {
      const { body, headers = {} } = ask
      const stream = body instanceof Readable
      const length = body === undefined || stream ? {} : { 'content-length': String(Buffer.byteLength(body)) }
      const none =
        body === undefined && ['POST', 'PUT', 'PATCH'].includes(method) ? { 'content-length': '0' } : {}
      const req = request(
        {
          host: '127.0.0.1',
          port: server.port,
          method,
          path,
          headers: { ...none, ...length, ...headers },
          agent: ask.agent ?? false
        },
        (res) => {
          const chunks: Buffer[] = []
          res.on('data', (chunk: Buffer) => chunks.push(chunk))
          res.on('error', reject)
          const { localPort } = res.socket
          res.on('end', () =>
            resolve(answerOf(res.statusCode ?? 0, res.headers, Buffer.concat(chunks), localPort))
          )
        }
      )
      req.on('error', (error) => {
        error.message = `${method} ${path}: ${error.message}`
        reject(error)
      })
      if (stream) body.on('error', (error) => req.destroy(error)).pipe(req)
      else req.end(body)
    })
  }

  /** A request that must be answered with `status`. */
  async function expect(status: number, method: string, path: string, ask?: Ask): Promise<Answer> {
    const answer = await call(method, path, ask)
    assert.equal(
      answer.status,
      status,
      `${method} ${path}: ${answer.status} ${answer.body.toString().slice(0, 300)}`
    )
    return answer
  }

  /** Begins an upload and gives its location. */
  async function begin(name: string, query = ''): Promise<string> {
    const { headers } = await expect(202, 'POST', `/v2/${name}/blobs/uploads/${query}`)
    assert.ok(headers.location)
    return headers.location
  }

  /** Pushes a blob by POST and PUT. */
  async function blob(name: string, bytes: Uint8Array | string, mediaType = OCI_LAYER): Promise<Descriptor> {
    const digest = digestOf(bytes)
    const location = await begin(name)
    await expect(201, 'PUT', withQuery(location, `digest=${digest}`), { body: bytes })
    return { mediaType, digest, size: Buffer.byteLength(bytes) }
  }

  /** Puts a manifest under `reference`, its digest unless given. */
  async function put(name: string, manifest: Made, reference: string = manifest.digest): Promise<Answer> {
    return expect(201, 'PUT', `/v2/${name}/manifests/${reference}`, {
      body: manifest.bytes,
      headers: { 'content-type': manifest.mediaType }
    })
  }

  /** Pushes a small image whose content follows from `text`, and tags it. */
  async function image(
    name: string,
    tag: string,
    text = tag,
    more: Record<string, unknown> = {}
  ): Promise<Made> {
    const config = await blob(name, JSON.stringify({ architecture: 'amd64', os: 'linux', text }), OCI_CONFIG)
    const layers = [await blob(name, `layer of ${text}`)]
    const made = manifest({ config, layers, ...more })
    await put(name, made, tag)
    return made
  }

  return { call, expect, begin, blob, put, image }
}

/** What {@link ociClient} makes. */
export type OciClient = ReturnType<typeof ociClient>

/** A manifest's bytes and descriptor. */
export function manifest(fields: Record<string, unknown>, mediaType = OCI_MANIFEST): Made {
  const bytes = Buffer.from(JSON.stringify({ schemaVersion: 2, mediaType, ...fields }))
  return { mediaType, digest: digestOf(bytes), size: bytes.length, bytes }
}

/** A descriptor of a made manifest, as an index or a subject holds it. */
export const descriptor = ({ mediaType, digest, size }: Made): Descriptor => ({ mediaType, digest, size })

/** A location with a query parameter more. */
export function withQuery(location: string, query: string): string {
  return `${location}${location.includes('?') ? '&' : '?'}${query}`
}

function answerOf(
  status: number,
  headers: IncomingHttpHeaders,
  body: Buffer,
  localPort: number | undefined
): Answer {
  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- as above
  const json = <T>() => JSON.parse(body.toString()) as T
  return {
    status,
    headers,
    body,
    json,
    localPort,
    get code() {
      return body.length === 0 ? undefined : json<{ errors?: { code: string }[] }>().errors?.[0]?.code
    }
  }
}

/** A raw connection: what is written goes out as it is, and all that comes back is kept. */
export interface RawConnection {
  readonly socket: Socket
  /** What has arrived so far. */
  text(): string
  /** Resolves with all that arrived, once the other side has closed. */
  readonly closed: Promise<string>
  /** Resolves when what arrived matches. */
  until(pattern: RegExp): Promise<string>
}

/** Connects to a port of 127.0.0.1 and writes `bytes`. */
export function rawConnection(
  server: { readonly port: number },
  bytes: Uint8Array | string = ''
): RawConnection {
  const socket = connect({ host: '127.0.0.1', port: server.port })
  let text = ''
  const waiting = new Set<() => void>()
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1')
    for (const wake of waiting) wake()
  })
  const closed = new Promise<string>((resolve) => {
    socket.on('error', () => {}) // a reset is an end like another
    socket.on('close', () => {
      for (const wake of waiting) wake()
      resolve(text)
    })
  })
  if (bytes.length > 0) socket.write(bytes)
  return {
    socket,
    text: () => text,
    closed,
    until: (pattern) =>
      new Promise((resolve, reject) => {
        const wake = () => {
          if (pattern.test(text)) {
            waiting.delete(wake)
            resolve(text)
          } else if (socket.destroyed) reject(new Error(`closed before ${pattern} arrived, after: ${text}`))
        }
        waiting.add(wake)
        wake()
      })
  }
}
