import { open, rename, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { Digest } from '../oci/digest.ts'
import { makeFolder, syncFolder } from './files.ts'
import type { IndexWrite, WriteRows } from './index-db.ts'
import { type Records, recordKey } from './records.ts'

/** Something that was found damaged and set aside. */
export interface SetAside {
  /** Its record and, where there was anything to keep, its file in the quarantine folder. */
  readonly name: string
  readonly kind: 'blob' | 'block'
  /** The digest of a blob, the CID of a block. */
  readonly id: string
  /** What a blob's root CID was; empty where its row couldn't be read. */
  readonly cid: string
  readonly size: number
  /** What is wrong with it. */
  readonly what: string
  /** Where its damaged parts of 1 MiB begin, in bytes; the first 1000 of them. */
  readonly pieces: readonly number[]
  /** How many they are. */
  readonly damaged: number
  /** Whether a blob had been pushed here, and so must never leave to make room. */
  readonly pushed: boolean
  readonly foundBy: 'read' | 'verify'
  /** ISO 8601. */
  readonly at: string
  /** `unneeded`: it could not be had again, and nothing here names it any more. */
  readonly state: 'bad' | 'repaired' | 'unneeded'
  /** How it was repaired, or why not. */
  readonly outcome: string
  /** Whether `seaway verify` has told of it. */
  readonly told: boolean
}

/** What is damaged is moved here, never deleted: people may want to look at it. */
export interface Quarantine {
  readonly folder: string
  /**
   * Sets a blob's file aside. `rows` become durable together with the record before the file is moved: at no
   * moment do rows name a file that isn't there because of this, and a move that a crash prevented is made up
   * for at the next start.
   */
  file(entry: SetAside, path: string, rows: readonly IndexWrite[]): Promise<void>
  /** Keeps a copy of bytes that were in the index, and makes `rows` durable with the record. */
  bytes(entry: SetAside, bytes: Uint8Array, rows: readonly IndexWrite[]): Promise<void>
  update(name: string, change: Partial<SetAside>): Promise<void>
  entries(): AsyncGenerator<SetAside>
  /** Forgets what is settled and was told of, once nobody keeps its file to look at. */
  tidy(): Promise<void>
  /** Makes the moves that a crash prevented. `pathOf` says where a blob's file is, if it has no row. */
  recover(pathOf: (digest: Digest) => Promise<string | undefined>): Promise<void>
}

const PREFIX = 'quarantine/'

export function createQuarantine(folder: string, records: Records, write: WriteRows): Quarantine {
  const record = (entry: SetAside): IndexWrite => ({
    type: 'put',
    key: recordKey(PREFIX + entry.name),
    value: Buffer.from(JSON.stringify(entry))
  })

  async function move(entry: SetAside, path: string): Promise<void> {
    await makeFolder(folder)
    await rename(path, join(folder, entry.name)).catch((error: NodeJS.ErrnoException) => {
      if (error.code !== 'ENOENT') throw error // what was missing can't be moved
    })
    await syncFolder(folder)
    await syncFolder(join(path, '..'))
  }

  async function* entries(): AsyncGenerator<SetAside> {
    for await (const [, value] of records.list(PREFIX)) {
      yield JSON.parse(Buffer.from(value).toString()) as SetAside
    }
  }

  return {
    folder,
    entries,
    async file(entry, path, rows) {
      await write([...rows, record(entry)])
      await move(entry, path)
    },
    async bytes(entry, bytes, rows) {
      await makeFolder(folder)
      const file = await open(join(folder, entry.name), 'w', 0o600)
      try {
        await file.writeFile(bytes)
        await file.sync()
      } finally {
        await file.close()
      }
      await syncFolder(folder)
      await write([...rows, record(entry)])
    },
    async update(name, change) {
      const value = await records.get(PREFIX + name)
      if (value === undefined) return
      const entry = JSON.parse(Buffer.from(value).toString()) as SetAside
      await write([record({ ...entry, ...change })])
    },
    async tidy() {
      for await (const { name, state, told } of entries())
        if (told && state !== 'bad' && !(await exists(join(folder, name))))
          await records.delete(PREFIX + name)
    },
    async recover(pathOf) {
      for await (const entry of entries()) {
        if (entry.kind !== 'blob' || entry.state !== 'bad') continue
        const path = await pathOf(entry.id as Digest)
        if (path !== undefined && (await exists(path))) await move(entry, path)
      }
    }
  }
}

function exists(path: string): Promise<boolean> {
  return stat(path).then(
    () => true,
    () => false
  )
}
