import type { Digest } from '../oci/digest.ts'
import { isDigest } from '../oci/digest.ts'
import type { Server } from '../upstream/server.ts'
import type { Ask, Reply } from '../upstream/wire.ts'
import { type OwnPull, PATIENCE, pullByEngine } from './engine-pull.ts'
import { type Platform, platformText } from './platform.ts'
import { MoveError, type Reporter } from './types.ts'

/** An image as an engine has it. */
export interface EngineImage {
  /** The digest of its config: what `docker images` calls its id. */
  readonly id: Digest
  readonly diffIds: readonly Digest[]
  readonly platform: Platform
}

/**
 * A Docker engine, or podman by the same API. It keeps layers without compression, and gives and takes images as
 * tar streams.
 *
 * @see https://docs.docker.com/reference/api/engine/version/v1.41/#tag/Image
 */
export interface Engine {
  readonly name: string
  readonly kind: 'docker' | 'podman'
  /** What it runs. */
  platform(signal: AbortSignal): Promise<Platform>
  /** The names of all its images. */
  names(signal: AbortSignal): Promise<readonly string[]>
  /** @throws {MoveError} for an image that it hasn't got */
  image(name: string, signal: AbortSignal): Promise<EngineImage>
  /** Whether it has an image by its id. */
  has(id: string, signal: AbortSignal): Promise<boolean>
  /**
   * The layers that it can put on top of each other already: the diff ids of all its images, bottom first. Nothing
   * where it needs all layers of what it takes in.
   */
  stacks(signal: AbortSignal): Promise<readonly (readonly string[])[]>
  /** Whether it can pull from a registry that listens on this machine only, and has images by their ids then. */
  pullsNearby(signal: AbortSignal): Promise<boolean>
  /** Whether it unpacks layers that are compressed with zstd: Docker does from version 23 on. */
  unpacksZstd(signal: AbortSignal): Promise<boolean>
  /** Has it pull an image by itself: it has it by its digest then. @throws as {@link pullByEngine} */
  pull(image: OwnPull, report: Reporter, signal: AbortSignal): Promise<void>
  /** Takes a name away, and the image with its last one; what can't be taken away stays. */
  forget(name: string, signal: AbortSignal): Promise<void>
  /** Gives an image, already here by its id, another name; `latest` is its tag if it has none. */
  tag(id: string, name: string, signal: AbortSignal): Promise<void>
  /** The tar of `docker save`. */
  save(names: readonly string[], signal: AbortSignal): AsyncIterable<Uint8Array>
  /** Takes in what `docker load` does, all of it or nothing. */
  load(tar: AsyncIterable<Uint8Array>, signal: AbortSignal): Promise<void>
  close(): void
}

/** What is asked of an engine, by its path. */
type Question = Omit<Ask, 'url' | 'headers'> & {
  readonly path: string
  readonly headers?: Readonly<Record<string, string>>
}

/** How many images are looked at at once. */
const LOOKS = 8

/** The longest answer that is read as a whole, in bytes. */
const MAX_ANSWER = 16 * 1024 * 1024

/** The minor version of the API that came with zstd: 1.42, Docker 23. */
const ZSTD_API = 42

/** Makes it over a connection to its socket. */
export function createEngine(server: Server, kind: Engine['kind']): Engine {
  const { url, name, wire } = server
  const send = ({ path, headers = {}, ...rest }: Question): Promise<Reply> =>
    wire.send({ ...rest, url: new URL(path, url), headers: { 'user-agent': 'seaway', ...headers } })

  // oxlint-disable-next-line typescript/no-unnecessary-type-parameters -- a caller says what it expects
  async function json<T>(path: string, signal: AbortSignal): Promise<{ status: number; value: T }> {
    const reply = await send({ method: 'GET', path, signal })
    const text = (await wire.read(reply, MAX_ANSWER)).toString()
    try {
      return { status: reply.status, value: JSON.parse(text) as T }
    } catch (error) {
      throw new MoveError(
        `${name} answered ${reply.status} with what is no JSON: is this an engine's socket?`,
        {
          cause: error
        }
      )
    }
  }

  async function refused(reply: Reply): Promise<MoveError> {
    const text = (await wire.read(reply, 64 * 1024)).toString()
    return new MoveError(`${name}: ${messageIn(text) ?? `it answered ${reply.status}`}`)
  }

  /** Whether it keeps images by their configs, and layers unpacked: containerd keeps blobs, and wants all that a manifest names. */
  let classic: Promise<boolean> | undefined
  const isClassic = (signal: AbortSignal) => (classic ??= lookClassic(signal))
  async function lookClassic(signal: AbortSignal): Promise<boolean> {
    if (kind !== 'docker') return false
    const info = await json<{ DriverStatus?: [string, string][] }>('/info', signal)
    return !(info.value.DriverStatus ?? []).some(([, value]) => /containerd/.test(value))
  }

  const pathOf = (image: string) => `/images/${image.split('/').map(encodeURIComponent).join('/')}/json`

  return {
    name,
    kind,
    async platform(signal) {
      const { status, value } = await json<{ Os?: string; Arch?: string }>('/version', signal)
      if (status !== 200 || value.Os === undefined || value.Arch === undefined)
        throw new MoveError(`${name} does not say what it runs: is this an engine's socket?`)
      return { os: value.Os, architecture: value.Arch }
    },
    async names(signal) {
      const { value } = await json<{ RepoTags?: string[] | null }[]>('/images/json', signal)
      return value.flatMap(({ RepoTags }) => RepoTags ?? []).filter((one) => !one.startsWith('<none>'))
    },
    async image(image, signal) {
      const { status, value } = await json<{
        Id?: string
        RootFS?: { Layers?: string[] | null }
        Os?: string
        Architecture?: string
        Variant?: string
        message?: string
      }>(pathOf(image), signal)
      if (status === 404)
        throw new MoveError(`${name} has no image '${image}'; ${kind} images lists what it has`)
      if (status !== 200) throw new MoveError(`${name}: ${value.message ?? `it answered ${status}`}`)
      const id = value.Id?.includes(':') === true ? value.Id : `sha256:${value.Id}`
      const diffIds = value.RootFS?.Layers ?? []
      if (!isDigest(id) || !diffIds.every(isDigest))
        throw new MoveError(`${name} describes '${image}' without digests, so it cannot be moved`)
      const { Os = 'linux', Architecture = '', Variant = '' } = value
      const platform = { os: Os, architecture: Architecture, ...(Variant !== '' && { variant: Variant }) }
      return { id, diffIds, platform }
    },
    async has(id, signal) {
      const { status } = await json(pathOf(id), signal)
      return status === 200
    },
    pullsNearby: async (signal) => server.socketPath !== undefined && (await isClassic(signal)),
    async unpacksZstd(signal) {
      if (kind !== 'docker') return true
      const { value } = await json<{ ApiVersion?: string }>('/version', signal)
      const [major = 0, minor = 0] = (value.ApiVersion ?? '').split('.').map(Number)
      return major > 1 || minor >= ZSTD_API
    },
    pull: (image, report, signal) => pullByEngine(server, image, report, signal),
    async forget(image, signal) {
      const path = `${pathOf(image).replace(/\/json$/, '')}?noprune=true`
      const reply = await send({ method: 'DELETE', path, signal })
      await wire.read(reply, MAX_ANSWER)
    },
    async stacks(signal) {
      if (!(await isClassic(signal))) return []
      const { value } = await json<{ Id: string }[]>('/images/json?all=1', signal)
      const ids = [...new Set(value.map(({ Id }) => Id))]
      const found: string[][] = []
      await Promise.all(
        Array.from({ length: LOOKS }, async () => {
          for (let id = ids.pop(); id !== undefined; id = ids.pop()) {
            const each = await json<{ RootFS?: { Layers?: string[] } }>(pathOf(id), signal)
            found.push(each.value.RootFS?.Layers ?? [])
          }
        })
      )
      return found
    },
    async tag(id, image, signal) {
      const [, repo = image, tagged = 'latest'] = /^(.*?)(?::([^/:]+))?$/.exec(image) ?? []
      const query = new URLSearchParams({ repo, tag: tagged })
      const reply = await send({ method: 'POST', path: `/images/${id}/tag?${query.toString()}`, signal })
      if (reply.status !== 201 && reply.status !== 200) throw await refused(reply)
      reply.body.resume()
    },
    async *save(names, signal) {
      const query = names.map((image) => `names=${encodeURIComponent(image)}`).join('&')
      const reply = await send({
        method: 'GET',
        path: `/images/get?${query}`,
        answerMs: PATIENCE,
        signal
      })
      if (reply.status !== 200) throw await refused(reply)
      yield* wire.chunks(reply, PATIENCE)
    },
    async load(tar, signal) {
      const reply = await send({
        method: 'POST',
        path: '/images/load?quiet=1',
        headers: { 'content-type': 'application/x-tar' },
        content: tar,
        answerMs: PATIENCE,
        signal
      })
      if (reply.status !== 200) throw await refused(reply)
      // it says 200 before it begins; how that went stands in the last lines
      const lines = (await wire.read(reply, MAX_ANSWER, PATIENCE)).toString().split('\n')
      for (const line of lines) {
        const failure = messageIn(line, true)
        if (failure !== undefined) throw new MoveError(`${name} did not take it: ${failure}`)
      }
    },
    close: () => wire.close()
  }
}

/** The message of a JSON answer; only that of a failure if `errors`. */
function messageIn(text: string, errors = false): string | undefined {
  try {
    const { message, error } = JSON.parse(text) as { message?: string; error?: string }
    return error ?? (errors ? undefined : message)
  } catch {
    return undefined
  }
}

/** Says so when an image isn't of the platform that was asked for. */
export function checkPlatform(image: EngineImage, name: string, wanted: Platform | undefined): void {
  if (wanted === undefined) return
  const { os, architecture } = image.platform
  if (os !== wanted.os || architecture !== wanted.architecture)
    throw new MoveError(`'${name}' is for ${platformText(image.platform)}, not ${platformText(wanted)}`)
}
