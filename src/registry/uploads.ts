import { randomUUID } from 'node:crypto'
import { rm } from 'node:fs/promises'
import type { Log } from '../log.ts'
import type { Digest } from '../oci/digest.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import type { RepositoryName } from '../oci/reference.ts'
import type { BlobInfo, BlobWriter, Store } from '../store/index.ts'
import type { Links } from './links.ts'
import type { Quota, Reservation } from './quota.ts'
import { domainOf, type UploadTarget, uploadFile } from './uploads-left.ts'

/** Where an upload stands. */
export interface UploadStatus {
  readonly id: string
  /** Bytes received and kept so far. */
  readonly size: number
}

/** The part of a body that a chunk says it is: bytes from `start` to `end`, both included. */
export interface ChunkRange {
  readonly start: number
  readonly end: number
}

/** Bodies as they arrive from a client; ends early by throwing. */
export type Body = AsyncIterable<Uint8Array>

/**
 * Blob uploads: a session holds what has arrived so far. Sessions outlive their connection and a
 * restart, and end by completion, by cancellation, by a wrong digest, or by expiry.
 */
export interface Uploads {
  start(name: UploadTarget): Promise<UploadStatus>
  /** @throws {RegistryError} BLOB_UPLOAD_UNKNOWN */
  status(name: UploadTarget, id: string): Promise<UploadStatus>
  /**
   * Adds a chunk. If the body breaks off, what arrived is kept and {@link status} tells how much.
   *
   * @throws {RegistryError} BLOB_UPLOAD_UNKNOWN, RANGE_INVALID (out of order), SIZE_INVALID, STORAGE_FULL,
   *   DENIED (a limit is reached)
   */
  append(name: UploadTarget, id: string, body: Body, range: ChunkRange | undefined): Promise<UploadStatus>
  /**
   * Adds a last chunk and makes the whole a blob of the repository. The session ends, whatever comes of it.
   *
   * @throws {RegistryError} DIGEST_INVALID, and as {@link append}
   */
  finish(
    name: UploadTarget,
    id: string,
    body: Body,
    range: ChunkRange | undefined,
    digest: Digest
  ): Promise<BlobInfo>
  cancel(name: UploadTarget, id: string): Promise<void>
  /** Repositories that something is being uploaded to now, or was in the last `withinMs` milliseconds without an end. */
  inProgress(withinMs: number): readonly RepositoryName[]
  /** Ends sessions and partial transfers on which nothing has happened for `idleMs`; returns how many. */
  expire(idleMs: number): Promise<number>
  /** Puts what is in memory into files, so that the next process can go on. */
  stop(): Promise<void>
}

interface Session {
  readonly name: UploadTarget
  readonly file: string
  readonly writer: BlobWriter
  /** Room within the limits for what has arrived. */
  readonly room: Reservation
  busy: boolean
  used: number
}

export function createUploads(options: { store: Store; links: Links; quota: Quota; log: Log }): Uploads {
  const { store, links, quota, log } = options
  const sessions = new Map<string, Session>()
  const resuming = new Map<string, Promise<Session>>()
  /** Files that are being removed because they expired. */
  const ending = new Set<string>()

  const sessionOf = (name: UploadTarget, file: string, writer: BlobWriter): Session => {
    const room = quota.reserve(domainOf(name))
    return { name, file, writer, room, busy: false, used: Date.now() }
  }

  async function find(name: UploadTarget, id: string): Promise<Session> {
    const file = uploadFile(id, name)
    const open = sessions.get(file) ?? resuming.get(file)
    if (open !== undefined) return open
    if (!/^[0-9a-f-]{36}$/.test(id) || ending.has(file)) throw unknown(id)
    // Requests that come together share one session: two writers of one file would undo each other's work.
    const found = resume(file, name, id).finally(() => resuming.delete(file))
    resuming.set(file, found)
    return found
  }

  /** A session that was begun before a restart: its file is read once, to be hashed, and then open no longer than any other's. */
  async function resume(file: string, name: UploadTarget, id: string): Promise<Session> {
    const writer = await store.incoming.resume(file).catch((error: unknown) => {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') throw unknown(id)
      throw error
    })
    await writer.close()
    const session = sessionOf(name, file, writer)
    await quota.left.counted()
    sessions.set(file, session)
    quota.left.release(file) // in one turn with what takes its room
    await session.room
      .take(writer.size)
      .catch((error: unknown) => drop(session).then(() => Promise.reject(error)))
    return session
  }

  async function claim(name: UploadTarget, id: string): Promise<Session> {
    const session = await find(name, id)
    if (session.busy) {
      throw new RegistryError('BLOB_UPLOAD_INVALID', 'another request is writing to this upload', {
        status: 409
      })
    }
    session.busy = true
    return session
  }

  /** Ends a session of which nothing is kept. */
  async function drop(session: Session): Promise<void> {
    session.busy = true
    session.room.release()
    // Until its file is gone, nobody else may take it up as one that a restart has left.
    await session.writer.abort().finally(() => sessions.delete(session.file))
  }

  function release(session: Session): void {
    session.busy = false
    session.used = Date.now()
  }

  /**
   * Takes a chunk if it is the next one. What arrives before a body breaks off is kept; a disk that is
   * full, and a chunk that isn't as long as it says, end the session.
   */
  async function receive(
    session: Session,
    id: string,
    body: Body,
    range: ChunkRange | undefined
  ): Promise<void> {
    const { writer } = session
    const from = writer.size
    if (range !== undefined && range.start !== from) {
      throw new RegistryError(
        'RANGE_INVALID',
        `the chunk begins at byte ${range.start}, but the upload goes on at ${from}`,
        {
          detail: { offset: from },
          headers: uploadHeaders({ id, size: from })
        }
      )
    }
    try {
      for await (const chunk of body) {
        await session.room.take(chunk.length)
        await writer.append(chunk)
        session.used = Date.now()
      }
      const length = writer.size - from
      if (range !== undefined && length !== range.end - range.start + 1) {
        throw new RegistryError(
          'SIZE_INVALID',
          `the chunk has ${length} bytes, not the ${range.end - range.start + 1} of its Content-Range; start the upload again`
        )
      }
    } catch (error) {
      if (error instanceof RegistryError) await drop(session)
      else await writer.suspend()
      throw error
    }
  }

  return {
    async start(name) {
      const id = randomUUID()
      const file = uploadFile(id, name)
      await quota.left.counted()
      const writer = store.incoming.create(file)
      await writer.touch()
      sessions.set(file, sessionOf(name, file, writer))
      return { id, size: 0 }
    },

    async status(name, id) {
      return { id, size: (await find(name, id)).writer.size }
    },

    async append(name, id, body, range) {
      const session = await claim(name, id)
      try {
        await receive(session, id, body, range)
        await session.writer.suspend()
        return { id, size: session.writer.size }
      } finally {
        release(session)
      }
    },

    async finish(name, id, body, range, digest) {
      const session = await claim(name, id)
      try {
        await session.room.expect(digest)
        await receive(session, id, body, range)
      } catch (error) {
        // Where it waits for the rest, it may become anything.
        if (sessions.has(session.file)) await session.room.wait().catch(() => drop(session))
        release(session)
        throw error
      }
      try {
        const blob = await store.blobs.commit(session.writer, digest, { notes: [links.note(name, digest)] })
        await session.room.kept(digest, blob.size)
        return blob
      } finally {
        // Not before its file is a blob or gone: see `drop`.
        sessions.delete(session.file)
        session.room.release()
      }
    },

    async cancel(name, id) {
      await drop(await claim(name, id))
    },

    inProgress(withinMs) {
      const since = Date.now() - withinMs
      const live = [...sessions.values()].filter(({ busy, used }) => busy || (withinMs > 0 && used >= since))
      return live.map(({ name }) => name)
    },

    async expire(idleMs) {
      const before = Date.now() - idleMs
      let ended = 0
      for (const session of sessions.values()) {
        if (session.busy || session.used > before) continue
        await drop(session)
        ended++
      }
      for (const { id, changed } of await store.incoming.list()) {
        if (changed > before || sessions.has(id) || resuming.has(id)) continue
        ending.add(id)
        await rm(store.incoming.path(id), { force: true }).finally(() => ending.delete(id))
        quota.left.release(id)
        ended++
      }
      if (ended > 0) log.info({ ended }, 'expired uploads and partial transfers')
      return ended
    },

    async stop() {
      for (const session of sessions.values()) {
        await session.writer
          .suspend()
          .then(() => session.writer.close())
          .catch((error: unknown) =>
            log.warn({ cause: reason(error) }, 'could not keep an upload for the next start')
          )
      }
      sessions.clear()
    }
  }
}

/** The headers that tell a client where its upload stands; `Range` is inclusive, and `0-0` also means "nothing yet". */
export function uploadHeaders(status: UploadStatus): Record<string, string> {
  return { Range: `0-${Math.max(0, status.size - 1)}`, 'Docker-Upload-UUID': status.id }
}

function unknown(id: string): RegistryError {
  return new RegistryError(
    'BLOB_UPLOAD_UNKNOWN',
    'no such upload is in progress here: it ended, expired, or belongs to another repository. Start again',
    {
      detail: { id }
    }
  )
}
