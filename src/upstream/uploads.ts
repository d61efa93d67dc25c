import { setTimeout as sleep } from 'node:timers/promises'
import type { Digest } from '../oci/digest.ts'
import { UpstreamError } from './failure.ts'
import type { Mirror } from './mirror.ts'
import type { Ask } from './mirrors.ts'
import type { Content } from './sending.ts'
import { MANIFEST_TYPES } from './upstream.ts'
import type { Reply } from './wire.ts'

/** An upload that a registry has begun. */
export interface Upload {
  readonly repository: string
  /** The repository that it was to be mounted from; the same rights are shown all along. */
  readonly from: string | undefined
  /** Where it goes on, as the registry said last. */
  readonly url: URL
}

/** A manifest as it is put. */
export interface PutManifest {
  readonly bytes: Uint8Array
  readonly mediaType: string
  readonly digest: Digest
}

/**
 * What is put into another registry. Whatever carries no content is asked again where that may help.
 *
 * @see https://github.com/opencontainers/distribution-spec/blob/v1.1.1/spec.md#push
 * @throws {UpstreamError}; the signal's reason; what a content throws
 */
export interface Uploads {
  /** The size in bytes of what is there by `blobs/<digest>` or `manifests/<reference>`; `undefined` for what isn't. */
  sizeOf(repository: string, path: string, signal: AbortSignal): Promise<number | undefined>
  /** Begins an upload; `undefined` where the registry took the blob over from a repository of its own instead. */
  begin(
    repository: string,
    mount: { readonly digest: Digest; readonly from: string | undefined } | undefined,
    signal: AbortSignal
  ): Promise<Upload | undefined>
  /** Sends content from a byte on; `end` is behind the last one, where that is known. */
  send(
    upload: Upload,
    content: Content,
    range: { readonly at: number; readonly end: number } | undefined,
    signal: AbortSignal
  ): Promise<Upload>
  /** How much has arrived, in bytes; `undefined` for an upload that it knows no more, or won't go on with. */
  arrived(
    upload: Upload,
    signal: AbortSignal
  ): Promise<{ readonly upload: Upload; readonly at: number } | undefined>
  /** Makes it a blob. */
  commit(upload: Upload, digest: Digest, signal: AbortSignal): Promise<void>
  /** Gives it up; whether the registry hears of it doesn't matter. */
  cancel(upload: Upload): Promise<void>
  /** Keeps a manifest. @returns whether the registry says that it lists it for its subject */
  putManifest(
    repository: string,
    reference: string,
    manifest: PutManifest,
    signal: AbortSignal
  ): Promise<boolean>
}

/** How long an upload that is given up is waited for, in milliseconds. */
const CANCEL_MS = 5000
/** How long after a vain attempt the next one is, in milliseconds. */
const CANCEL_PAUSE = 50

/** Makes it over a registry's one server. */
export function createUploads(mirror: Mirror, ask: Ask): Uploads {
  const patiently = <T>(signal: AbortSignal, work: () => Promise<T>) => ask(signal, { patient: true }, work)

  /** Where an upload goes on: the registry's word, which may leave out the host. */
  function goesOn({ repository, from }: Omit<Upload, 'url'>, { headers, url, body }: Reply): Upload {
    body.resume()
    const { location } = headers
    if (location === undefined || !URL.canParse(location, url.href))
      throw new UpstreamError(
        'wrong',
        `${mirror.url.host}/${repository} does not say where an upload goes on`
      )
    const next = new URL(location, url)
    if (!/^https?:$/.test(next.protocol) || (url.protocol === 'https:' && next.protocol === 'http:'))
      throw new UpstreamError(
        'wrong',
        `${mirror.url.host} sends an upload to ${next.origin}, which is refused`
      )
    return { repository, from, url: next }
  }

  async function cancel({ repository, from, url }: Upload): Promise<void> {
    const signal = AbortSignal.timeout(CANCEL_MS)
    const asked = { method: 'DELETE', repository, from, path: url, signal } as const
    // where it is still read, as it may not be known yet that it broke off, it can't be given up
    const isBusy = () =>
      mirror.ask(asked).then(
        ({ body }) => {
          body.resume()
          return false
        },
        (error: unknown) => error instanceof UpstreamError && error.status === 409
      )
    while (await isBusy()) {
      await sleep(CANCEL_PAUSE, undefined, { signal }).catch(() => undefined)
      if (signal.aborted) return
    }
  }

  return {
    async sizeOf(repository, path, signal) {
      try {
        return await patiently(signal, async () => {
          const headers = { accept: path.startsWith('manifests/') ? MANIFEST_TYPES : '*/*' }
          const reply = await mirror.ask({ method: 'HEAD', repository, path, headers, signal })
          reply.body.resume()
          return Number(reply.headers['content-length'] ?? Number.NaN)
        })
      } catch (error) {
        return unknown(error)
      }
    },

    begin: (repository, mount, signal) =>
      patiently(signal, async () => {
        const query = new URLSearchParams({
          ...(mount !== undefined && { mount: mount.digest }),
          ...(mount?.from !== undefined && { from: mount.from })
        }).toString()
        const path = `blobs/uploads/${query === '' ? '' : `?${query}`}`
        const from = mount?.from
        // what is begun while nobody wants it any more would stay there: its name is waited for, and it is given up
        const upload = await lingering(signal, CANCEL_MS, async (later) => {
          const reply = await mirror.ask({ method: 'POST', repository, path, from, signal: later })
          if (reply.status !== 201) return goesOn({ repository, from }, reply)
          reply.body.resume()
          return undefined
        })
        if (signal.aborted && upload !== undefined) await cancel(upload)
        signal.throwIfAborted()
        return upload
      }),

    async send(upload, content, range, signal) {
      const { repository, from, url } = upload
      const headers: Record<string, string> = {
        'content-type': 'application/octet-stream',
        ...(range !== undefined && range.at > 0 && { 'content-range': `${range.at}-${range.end - 1}` })
      }
      const asked = { method: 'PATCH', repository, from, path: url, headers, content, signal } as const
      return goesOn(upload, await mirror.ask(asked))
    },

    async arrived(upload, signal) {
      const { repository, from, url } = upload
      try {
        return await patiently(signal, async () => {
          const reply = await mirror.ask({ method: 'GET', repository, from, path: url, signal })
          const at = Number(/-(\d+)$/.exec(reply.headers['range'] ?? '')?.[1] ?? -1) + 1
          if (reply.headers.location !== undefined) return { upload: goesOn(upload, reply), at }
          reply.body.resume()
          return { upload, at }
        })
      } catch (error) {
        // docker-registry refuses one that broke off: what has arrived isn't what its Location says
        if (error instanceof UpstreamError && error.fault === 'wrong') return undefined
        return unknown(error)
      }
    },

    async commit({ repository, from, url }, digest, signal) {
      const path = new URL(url)
      path.searchParams.set('digest', digest)
      const reply = await mirror.ask({ method: 'PUT', repository, from, path, signal })
      reply.body.resume()
    },

    cancel,

    putManifest: (repository, reference, { bytes, mediaType, digest }, signal) =>
      patiently(signal, async () => {
        const reply = await mirror.ask({
          method: 'PUT',
          repository,
          path: `manifests/${reference}`,
          headers: { 'content-type': mediaType },
          content: bytes,
          signal
        })
        reply.body.resume()
        const said = reply.headers['docker-content-digest']
        if (said !== undefined && said !== digest)
          throw new UpstreamError(
            'wrong',
            `${mirror.url.host} keeps the manifest as ${said}, but it is ${digest}`
          )
        return reply.headers['oci-subject'] !== undefined
      })
  }
}

function unknown(error: unknown): undefined {
  if (error instanceof UpstreamError && error.fault === 'unknown') return undefined
  throw error
}

/** Does work whose signal is aborted some milliseconds after `signal`. */
async function lingering<T>(
  signal: AbortSignal,
  ms: number,
  work: (signal: AbortSignal) => Promise<T>
): Promise<T> {
  signal.throwIfAborted()
  const later = new AbortController()
  let timer: NodeJS.Timeout | undefined
  const wait = () => {
    timer = setTimeout(() => later.abort(signal.reason), ms)
  }
  signal.addEventListener('abort', wait, { once: true })
  try {
    return await work(later.signal)
  } finally {
    signal.removeEventListener('abort', wait)
    clearTimeout(timer)
  }
}
