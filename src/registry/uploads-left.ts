import { createHash } from 'node:crypto'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import type { RepositoryName } from '../oci/reference.ts'
import type { Incoming } from '../store/index.ts'

/** What uploads of an earlier process hold in files, until somebody goes on with them or they expire. */
export interface LeftUploads {
  /** Ends when they are counted: before that, files of new uploads would be taken for them. */
  counted(): Promise<void>
  /** So many bytes, of a domain or of all, once they are counted. */
  bytes(domain: string | undefined): number
  /** Somebody goes on with an upload and takes room for it, or its file is gone. */
  release(file: string): void
}

/** Where an upload goes, and whose it is: nobody else finds it, also after a restart. `by` is any text; none for anybody's. */
export type UploadTarget = RepositoryName & { readonly by?: string }

/** Whose limit what a repository receives counts towards. */
export const domainOf = ({ place }: RepositoryName): string =>
  place.kind === 'domain' ? place.domain : place.kind

/**
 * What session files are called: their id, a mark of the repository and of whom they belong to, and one of its domain (names
 * themselves may be longer than a file's name can be).
 */
export function uploadFile(id: string, name: UploadTarget): string {
  const owner = name.by === undefined ? '' : `\0${name.by}`
  return `upload-${id}-${markOf(name.asked + owner)}-${markOf(domainOf(name))}`
}

const markOf = (text: string) => createHash('sha256').update(text).digest('hex').slice(0, 16)

/** @param options.limited whether anybody will ask; nothing is read otherwise */
export function createLeftUploads(options: {
  incoming: Pick<Incoming, 'list'>
  limited: boolean
  log: Log
}): LeftUploads {
  const files = new Map<string, number>()
  const marks = new Map<string, number>()
  let all = 0

  function add(file: string, bytes: number): void {
    const mark = file.slice(file.lastIndexOf('-') + 1)
    marks.set(mark, (marks.get(mark) ?? 0) + bytes)
    all += bytes
  }

  async function count(): Promise<void> {
    for (const { id, size } of await options.incoming.list()) {
      if (!id.startsWith('upload-')) continue
      files.set(id, size)
      add(id, size)
    }
  }
  const counted = options.limited
    ? count().catch((error: unknown) =>
        options.log.warn({ cause: reason(error) }, 'could not count the uploads that were left')
      )
    : Promise.resolve()

  return {
    counted: () => counted,
    bytes: (domain) => (domain === undefined || all === 0 ? all : (marks.get(markOf(domain)) ?? 0)),
    release(file) {
      const size = files.get(file)
      if (size === undefined) return
      files.delete(file)
      add(file, -size)
    }
  }
}
