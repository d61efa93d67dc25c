import { createHash } from 'node:crypto'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Digest, digestOf, isDigest, splitDigest } from '../oci/digest.ts'
import { type Descriptor, MAX_MANIFEST, readManifest } from '../oci/manifest.ts'
import { bareType, DOCKER_LIST, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST } from '../oci/media-types.ts'
import type { Reply } from './http.ts'
import { createAsk, locationIn, type RegistryAccess } from './registry-ask.ts'
import { type BlobId, type ImageStore, MAX_SMALL, MoveError, Refused, WrongContent } from './types.ts'
import { wholeBlob } from './verify.ts'

/** How often what breaks off is begun again, and the first wait before that, in milliseconds; it doubles. */
const TRIES = 4
const WAIT_MS = 200

const ACCEPT = [OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST].join(', ')

/** A registry, or a gateway, by the OCI distribution API: one repository of it. @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md */
export function createRegistryStore(options: RegistryAccess): ImageStore {
  const { http, repository, name } = options
  const base = `/v2/${repository}`
  const { ask, follow } = createAsk(options)

  async function head(path: string, signal: AbortSignal): Promise<boolean> {
    const reply = await ask({ method: 'HEAD', path, headers: { accept: ACCEPT }, signal }, [200, 404])
    reply.body.resume()
    return reply.status === 200
  }

  /** Begins an upload; `undefined` where the blob could be mounted instead. */
  async function begin(mount: BlobId | undefined, signal: AbortSignal): Promise<string | undefined> {
    const query = mount === undefined ? '' : `?mount=${mount.digest}`
    const reply = await ask({ method: 'POST', path: `${base}/blobs/uploads/${query}`, signal }, [201, 202])
    reply.body.resume()
    return reply.status === 201 ? undefined : locationIn(reply, name)
  }

  async function commit(location: string, digest: string, signal: AbortSignal): Promise<void> {
    const path = `${location}${location.includes('?') ? '&' : '?'}digest=${encodeURIComponent(digest)}`
    ;(await ask({ method: 'PUT', path, signal }, [201])).body.resume()
  }

  async function patch(
    location: string,
    content: AsyncIterable<Uint8Array>,
    signal: AbortSignal,
    rest?: { at: number; size: number }
  ): Promise<string> {
    const headers = { 'content-type': 'application/octet-stream' }
    const range: Record<string, string> =
      rest !== undefined && rest.at > 0 ? { 'content-range': `${rest.at}-${rest.size - 1}` } : {}
    const reply = await ask(
      { method: 'PATCH', path: location, headers: { ...headers, ...range }, content, signal },
      [202]
    )
    reply.body.resume()
    return locationIn(reply, name)
  }

  const cancel = (location: string) =>
    ask({ method: 'DELETE', path: location, signal: AbortSignal.timeout(2000) }, [204, 404])
      .then(({ body }) => body.resume())
      .catch(() => undefined)

  return {
    name,
    async tags(signal) {
      const found: string[] = []
      for (let path: string | undefined = `${base}/tags/list?n=1000`; path !== undefined; ) {
        const reply: Reply = await ask({ method: 'GET', path, signal }, [200])
        const { tags } = JSON.parse((await http.read(reply)).toString()) as { tags?: string[] | null }
        found.push(...(tags ?? []))
        path = /<([^>]+)>;\s*rel="?next"?/.exec(reply.headers.link?.toString() ?? '')?.[1]
      }
      return found
    },

    async manifest(reference, signal) {
      const path = `${base}/manifests/${reference}`
      const reply = await ask({ method: 'GET', path, headers: { accept: ACCEPT }, signal }, [200])
      const bytes = await http.read(reply, MAX_MANIFEST)
      const said = reply.headers['docker-content-digest']?.toString()
      const expected = isDigest(reference)
        ? reference
        : said !== undefined && isDigest(said)
          ? said
          : undefined
      const digest = digestOf(bytes, expected === undefined ? 'sha256' : splitDigest(expected).algorithm)
      if (expected !== undefined && digest !== expected)
        throw new MoveError(`${name} gave a manifest that is not ${expected}; nothing of it was used`)
      return {
        digest,
        bytes,
        mediaType: readManifest(bytes, bareType(reply.headers['content-type'])).mediaType
      }
    },

    async *read(blob, at, signal) {
      let position = at
      for (let tries = 1; ; tries++) {
        try {
          const range: Record<string, string> = position > 0 ? { range: `bytes=${position}-` } : {}
          const headers = { 'accept-encoding': 'identity', ...range }
          const reply = await follow({ method: 'GET', path: `${base}/blobs/${blob.digest}`, headers, signal })
          let skip = reply.status === 206 ? 0 : position
          for await (const chunk of http.chunks(reply)) {
            const part = skip > 0 ? chunk.subarray(skip) : chunk
            skip = Math.max(0, skip - chunk.length)
            if (part.length === 0) continue
            position += part.length
            tries = 1
            yield part
          }
          if (position >= blob.size) return
          throw new MoveError(`${name} ended ${blob.digest} after ${position} of ${blob.size} bytes`)
        } catch (error) {
          signal.throwIfAborted()
          if (error instanceof Refused || tries >= TRIES) throw error
          await sleep(WAIT_MS * 2 ** tries, undefined, { signal })
        }
      }
    },

    async referrers(digest, signal) {
      const path = `${base}/referrers/${digest}`
      const reply = await ask({ method: 'GET', path, signal }, [200, 404])
      const text = (await http.read(reply)).toString()
      if (reply.status === 200) return (JSON.parse(text) as { manifests?: Descriptor[] }).manifests ?? []
      // the tag schema, of registries from before 1.1
      const old = await this.manifest(digest.replace(':', '-'), signal).catch(() => undefined)
      return old === undefined ? [] : readManifest(old.bytes, old.mediaType).children
    },

    hasBlob: (blob, signal) => head(`${base}/blobs/${blob.digest}`, signal),
    hasManifest: (digest, signal) => head(`${base}/manifests/${digest}`, signal),

    async write(blob, read, signal) {
      let location = await begin(blob, signal)
      if (location === undefined) return
      try {
        for (let tries = 1, at = 0; ; tries++) {
          try {
            if (at < blob.size || at === 0)
              location = await patch(location, read(at), signal, { at, size: blob.size })
            return await commit(location, blob.digest, signal)
          } catch (error) {
            signal.throwIfAborted()
            if (error instanceof Refused || error instanceof WrongContent || tries >= TRIES) throw error
            await sleep(WAIT_MS * 2 ** tries, undefined, { signal })
            // what has arrived stays there
            const status = await ask({ method: 'GET', path: location, signal }, [204, 404])
            status.body.resume()
            if (status.status === 404) {
              const again = await begin(blob, signal)
              if (again === undefined) return
              location = again
              at = 0
            } else {
              at = Number(/-(\d+)$/.exec(status.headers['range'] ?? '')?.[1] ?? -1) + 1
              location = status.headers.location ?? location
            }
          }
        }
      } catch (error) {
        await cancel(location)
        throw error
      }
    },

    async mount(blob, signal) {
      const location = await begin(blob, signal)
      if (location === undefined) return true
      await cancel(location)
      return false
    },

    async smallBlob(digest, signal) {
      const reply = await ask({ method: 'HEAD', path: `${base}/blobs/${digest}`, signal }, [200, 404])
      reply.body.resume()
      const size = Number(reply.headers['content-length'] ?? Number.NaN)
      if (reply.status === 404 || !(size <= MAX_SMALL)) return undefined
      return wholeBlob(this, { digest, size }, signal)
    },

    async writeStream(content, signal) {
      const hash = createHash('sha256')
      let size = 0
      let location = (await begin(undefined, signal)) as string
      try {
        location = await patch(
          location,
          (async function* () {
            for await (const chunk of content) {
              hash.update(chunk)
              size += chunk.length
              yield chunk
            }
          })(),
          signal
        )
        const digest = `sha256:${hash.digest('hex')}` as Digest
        await commit(location, digest, signal)
        return { digest, size }
      } catch (error) {
        await cancel(location)
        throw error
      }
    },

    async putManifest({ bytes, mediaType, digest }, tag, signal) {
      const path = `${base}/manifests/${tag ?? digest}`
      const reply = await ask(
        { method: 'PUT', path, headers: { 'content-type': mediaType }, content: bytes, signal },
        [201]
      )
      reply.body.resume()
      const said = reply.headers['docker-content-digest']
      if (said !== undefined && said !== digest)
        throw new MoveError(`${name} keeps the manifest as ${said.toString()}, but it is ${digest}`)
    }
  }
}
