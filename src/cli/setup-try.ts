import { ConfigError } from '../config.ts'
import { digestOf, isDigest, splitDigest } from '../oci/digest.ts'
import { reason } from '../oci/errors.ts'
import { IMAGE_TYPES, INDEX_TYPES } from '../oci/media-types.ts'
import type { ClientFile, Target, TriedImage } from './setup-files.ts'

/** The image that is tried: everybody may have it, and its manifest is small. */
export const TRIED = 'docker.io/library/hello-world:latest'

/** How long it may take, in milliseconds: the upstream is asked too. */
const TRY_MS = 30_000

/** What came of it: the manifest's digest, or what is wrong. */
export interface Tried {
  readonly image: string
  readonly digest?: string
  readonly failure?: string
}

/** What to ask for an image. @throws {ConfigError} when it names no registry */
export function tryable(image: string): TriedImage & { readonly image: string } {
  const [, domain, repository, tag, digest] =
    /^([^/@]+\.[^/@]+)\/([^:@]+)(?::([^@]+))?(?:@(.+))?$/.exec(image) ?? []
  if (domain === undefined || repository === undefined)
    throw new ConfigError(`'${image}' is no image like quay.io/a/b:1 that can be tried`)
  return { image, domain, repository, reference: digest ?? tag ?? 'latest' }
}

/** Gets a manifest through the gateway as the client does that was set up. It brings the manifest alone there. */
export async function tryImage(
  { at, tls }: Pick<Target, 'at' | 'tls'>,
  client: ClientFile,
  tried: ReturnType<typeof tryable>
): Promise<Tried> {
  const { image } = tried
  const start = 'start the gateway, or say where it is with --at'
  const ask = (path: string) =>
    fetch(`${tls === true ? 'https' : 'http'}://${at}/v2/${path}`, {
      headers: { accept: [...INDEX_TYPES, ...IMAGE_TYPES].join(', ') },
      signal: AbortSignal.timeout(TRY_MS)
    })
  try {
    const ping = await ask('')
    await ping.arrayBuffer()
    if (!ping.headers.has('docker-distribution-api-version'))
      return { image, failure: `what answers at ${at} is no registry: ${start}` }
  } catch (error) {
    const why = reason(error instanceof TypeError ? (error.cause ?? error) : error)
    return { image, failure: `nobody answers at ${at} (${why}): ${start}` }
  }
  try {
    const answer = await ask(client.asks(tried))
    const bytes = Buffer.from(await answer.arrayBuffer())
    const digest = answer.headers.get('docker-content-digest') ?? ''
    const right = isDigest(digest) && digest === digestOf(bytes, splitDigest(digest).algorithm)
    if (answer.status === 200 && right) return { image, digest }
    const hint = client.hint === undefined ? '' : `; ${client.hint}`
    return {
      image,
      failure: `${image} does not come through the gateway: ${messageIn(bytes, answer.status)}${hint}`
    }
  } catch (error) {
    return { image, failure: `${image} does not come through the gateway: ${reason(error)}` }
  }
}

/** What a registry says is wrong. */
function messageIn(bytes: Buffer, status: number): string {
  try {
    const { errors } = JSON.parse(bytes.toString()) as { errors?: { message?: string }[] }
    return errors?.[0]?.message ?? `it answers ${status}`
  } catch {
    return `it answers ${status}`
  }
}
