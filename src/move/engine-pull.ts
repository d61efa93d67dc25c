import type { Digest } from '../oci/digest.ts'
import type { Server } from '../upstream/server.ts'
import { type BlobProgress, MoveError, type Reporter } from './types.ts'

/** How long an engine may take before it sends the first byte of an image, or says that it has taken one in: it writes all of it to its disk first. */
export const PATIENCE = 30 * 60_000

/** An image that an engine pulls by itself. */
export interface OwnPull {
  /** With the registry's address in front: `127.0.0.1:5000/example.com/app`. */
  readonly repository: string
  /** Of its manifest: the engine checks all that it pulls. */
  readonly digest: Digest
  /** Sizes of its layers in bytes, by the digits with which the engine names them. */
  readonly sizes: ReadonlyMap<string, number>
  /** Layers that were told of already. */
  readonly told: Set<string>
}

/** What an engine calls a layer: the first digits of its digest. */
export const shortId = (digest: Digest): string => digest.slice(7, 19)

interface Line {
  readonly status?: string
  readonly id?: string
  readonly progressDetail?: { readonly current?: number }
  readonly error?: string
}

/**
 * Has an engine pull an image from a registry that it reaches. It fetches and unpacks layers side by side, which is
 * faster than a tar of them that it first writes to its disk.
 *
 * @throws {MoveError} with what the engine says, when it fails
 * @see https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Image/operation/ImageCreate
 */
export async function pullByEngine(
  { url, name, wire }: Server,
  { repository, digest, sizes, told }: OwnPull,
  report: Reporter,
  signal: AbortSignal
): Promise<void> {
  const query = new URLSearchParams({ fromImage: repository, tag: digest }).toString()
  const reply = await wire.send({
    method: 'POST',
    url: new URL(`/images/create?${query}`, url),
    headers: { 'user-agent': 'seaway' },
    answerMs: PATIENCE,
    signal
  })
  const layers = new Map<string, { shown: BlobProgress; bytes: number }>()
  const layer = (id: string) => {
    const known = layers.get(id) ?? { shown: report.blob(id, sizes.get(id)), bytes: 0 }
    layers.set(id, known)
    return known
  }
  let rest = ''
  const take = (text: string) => {
    const { status = '', id = '', progressDetail, error } = JSON.parse(text) as Line
    if (error !== undefined) throw new MoveError(`${name}: ${error}`)
    if (!sizes.has(id) || told.has(id)) return
    if (status === 'Downloading') {
      const known = layer(id)
      const now = progressDetail?.current ?? known.bytes
      known.shown.add(now - known.bytes)
      known.bytes = now
    } else if (status === 'Pull complete' || status === 'Already exists') {
      layer(id).shown.done(status === 'Already exists')
      told.add(id)
    }
  }
  const decoder = new TextDecoder()
  for await (const chunk of wire.chunks(reply, PATIENCE)) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop() ?? ''
    if (reply.status === 200) for (const line of lines) if (line.trim() !== '') take(line)
  }
  if (reply.status !== 200) throw new MoveError(`${name} answered ${reply.status}`)
  if (rest.trim() !== '') take(rest)
}
