/** A registry as it is seen on the wire, without a client's own ideas: for uploads, digests and errors. */
import { createHash } from 'node:crypto'

/** Every manifest type that a client asks for. */
export const MANIFEST_TYPES = [
  'oci.image.index.v1',
  'oci.image.manifest.v1',
  'docker.distribution.manifest.list.v2',
  'docker.distribution.manifest.v2'
]
  .map((kind) => `application/vnd.${kind}+json`)
  .join(',')

/** The sha256 digest of bytes as they come. */
export async function digestOf(bytes: AsyncIterable<Uint8Array> | Uint8Array): Promise<string> {
  const hash = createHash('sha256')
  if (bytes instanceof Uint8Array) hash.update(bytes)
  else for await (const chunk of bytes) hash.update(chunk)
  return `sha256:${hash.digest('hex')}`
}

/** What a registry answered when it refused. */
export interface Refusal {
  status: number
  code: string
  message: string
}

/** The refusal in an answer; throws when the answer is none. */
export async function refusalOf(answer: Response): Promise<Refusal> {
  const text = await answer.text()
  if (answer.ok) throw new Error(`not refused: ${answer.status} ${text.slice(0, 200)}`)
  const { errors } = JSON.parse(text) as { errors: { code: string; message: string }[] }
  return { status: answer.status, code: errors[0]?.code ?? '', message: errors[0]?.message ?? '' }
}

async function expectStatus(answer: Response, status: number): Promise<Response> {
  if (answer.status === status) return answer
  throw new Error(
    `${answer.url}: ${answer.status} instead of ${status}: ${(await answer.text()).slice(0, 500)}`
  )
}

/** One repository of the registry at `url`. */
export function repository(url: string, name: string) {
  const base = `${url}/v2/${name}`
  const accept = { headers: { accept: MANIFEST_TYPES } }

  /** A manifest's answer, whatever it is. */
  const getManifest = (reference: string, signal?: AbortSignal): Promise<Response> =>
    fetch(`${base}/manifests/${reference}`, { ...accept, ...(signal ? { signal } : {}) })

  /** A blob's answer, whatever it is. */
  const getBlob = (digest: string, init: RequestInit = {}): Promise<Response> =>
    fetch(`${base}/blobs/${digest}`, init)

  /** The digest that a blob's bytes have, as they come. */
  async function blobDigest(digest: string): Promise<string> {
    const answer = await expectStatus(await getBlob(digest), 200)
    return digestOf(answer.body as unknown as AsyncIterable<Uint8Array>)
  }

  /** Begins an upload and returns where it goes on. */
  async function begin(): Promise<string> {
    const answer = await expectStatus(await fetch(`${base}/blobs/uploads/`, { method: 'POST' }), 202)
    return new URL(answer.headers.get('location') ?? '', url).href
  }

  return {
    getManifest,
    getBlob,
    blobDigest,
    begin,

    /** Adds a chunk to an upload. */
    append: (location: string, bytes: Uint8Array): Promise<Response> =>
      fetch(location, { method: 'PATCH', body: bytes as unknown as Blob }),

    /** Ends an upload. */
    finish: (location: string, digest: string, bytes?: Uint8Array): Promise<Response> =>
      fetch(`${location}?digest=${encodeURIComponent(digest)}`, {
        method: 'PUT',
        ...(bytes === undefined ? {} : { body: bytes as unknown as Blob })
      }),

    /** Pushes a blob in one piece, and returns its digest. */
    async putBlob(bytes: Uint8Array): Promise<string> {
      const digest = await digestOf(bytes)
      const location = new URL(await begin())
      location.searchParams.set('digest', digest) // docker-registry's has a query of its own
      await expectStatus(await fetch(location, { method: 'PUT', body: bytes as unknown as Blob }), 201)
      return digest
    },

    /** Pushes an image of one layer under a tag; everything in it follows from the bytes of the layer. */
    async putImage(tag: string, layer: Uint8Array): Promise<{ manifest: string; layer: string }> {
      const type = 'application/vnd.oci.image'
      const config = Buffer.from('{"architecture":"amd64","os":"linux"}')
      const manifest = JSON.stringify({
        schemaVersion: 2,
        mediaType: `${type}.manifest.v1+json`,
        config: {
          mediaType: `${type}.config.v1+json`,
          digest: await this.putBlob(config),
          size: config.length
        },
        layers: [{ mediaType: `${type}.layer.v1.tar`, digest: await this.putBlob(layer), size: layer.length }]
      })
      const headers = { 'content-type': `${type}.manifest.v1+json` }
      const answer = await fetch(`${base}/manifests/${tag}`, { method: 'PUT', body: manifest, headers })
      await expectStatus(answer, 201)
      return { manifest: await digestOf(Buffer.from(manifest)), layer: await digestOf(layer) }
    },

    /**
     * Reads an image whole, every child of an index included, and checks every digest. Returns the digests
     * of all there is, the one of `reference` first.
     */
    async readImage(reference: string): Promise<string[]> {
      const answer = await expectStatus(await getManifest(reference), 200)
      const bytes = Buffer.from(await answer.arrayBuffer())
      const digest = await digestOf(bytes)
      const said = answer.headers.get('docker-content-digest')
      if (said !== digest) throw new Error(`${name}:${reference} is ${digest}, not ${said}`)
      const {
        config,
        layers = [],
        manifests = []
      } = JSON.parse(bytes.toString()) as {
        config?: { digest: string }
        layers?: { digest: string }[]
        manifests?: { digest: string }[]
      }
      const found = [digest]
      for (const child of manifests) found.push(...(await this.readImage(child.digest)))
      for (const blob of [...(config ? [config] : []), ...layers]) {
        const read = await blobDigest(blob.digest)
        if (read !== blob.digest) throw new Error(`${name} gave ${read} for ${blob.digest}`)
        found.push(read)
      }
      return found
    }
  }
}
