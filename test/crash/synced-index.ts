/** What the index of a data folder would be after a loss of power: the rows of its logs, as far as these are on the disk. */
import { createHash } from 'node:crypto'
import { CID } from 'multiformats/cid'
import { createDirectories, openTree, type TreeView } from '../../src/tree/index.ts'
import type { Disk } from './disk.ts'
import { readLog } from './leveldb-log.ts'
import type { Made } from './model.ts'
import type { Historic } from './sender.ts'

/** See the head of the file. It knows the rows of one process's life, from an empty folder on. */
export interface SyncedIndex {
  /** Takes in what has come to be on the disk. */
  advance(): void
  /** Why what was promised would not be there; `undefined` when it would. */
  lacks(promise: Historic): Promise<string | undefined>
  /** Whether a digest is of a blob with a file. */
  hasFile(digest: string): boolean
  /** How many logs there were. */
  logs(): number
}

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

export function createSyncedIndex(disk: Disk, data: string): SyncedIndex {
  const rows = new Map<string, Buffer>()
  const read = new Map<string, number>()
  const directories = createDirectories()
  const signal = new AbortController().signal
  const keyOf = (kind: string, rest: Uint8Array | string) =>
    Buffer.concat([Buffer.from(kind), Buffer.from(rest as string)]).toString('latin1')

  const record = (key: string) => rows.get(keyOf('r', Buffer.from(key)))

  function blobRow(digest: string): { inline: boolean; size: number } | undefined {
    const row = rows.get(keyOf('b', Buffer.from(digest.slice(7), 'hex')))
    return row && (JSON.parse(row.toString()) as { inline: boolean; size: number })
  }

  /** Why a blob could not be read; `undefined` when it could. */
  function lacksBlob(digest: string): string | undefined {
    const hex = digest.slice(7)
    const row = blobRow(digest)
    if (row === undefined) return `${digest} has no row`
    const path = `${data}/blobs/${hex.slice(0, 2)}/${hex}`
    const multihash = Buffer.concat([Buffer.from([0x12, 0x20]), Buffer.from(hex, 'hex')])
    const bytes = row.inline ? rows.get(keyOf('k', multihash)) : disk.synced(path)
    if (bytes === undefined)
      return `${digest} is not on the disk, by ${row.inline ? 'its bytes' : 'its name'}`
    return sha256(bytes) === hex
      ? undefined
      : `the bytes of ${digest} are not on the disk, ${bytes.length} of ${row.size}`
  }

  function viewOf(domain: string): TreeView | undefined {
    const root = record(`root/${domain}`)
    if (root === undefined) return undefined
    const { cid, size } = JSON.parse(root.toString()) as { cid: string; size: number }
    return openTree({ cid: CID.parse(cid), size }, directories, async (block) => {
      const bytes = rows.get(keyOf('k', block.multihash.bytes))
      if (bytes === undefined) throw new Error(`block ${block} of the tree is not on the disk`)
      return bytes
    })
  }

  function partsOf(made: Made): string[] {
    const { config, layers = [] } = JSON.parse(made.bytes.toString()) as {
      config?: { digest: string }
      layers?: { digest: string }[]
    }
    return [made.digest, ...(config ? [config.digest] : []), ...layers.map((layer) => layer.digest)]
  }

  async function lacks({ kind, repository, name, digest, made }: Historic): Promise<string | undefined> {
    const slash = repository.indexOf('/')
    const domain = slash < 0 ? 'local' : repository.slice(0, slash)
    const short = repository.slice(slash + 1)
    const view = viewOf(domain)
    const inTree = `${domain}/${short}`
    const as = name as `sha256:${string}`
    const wanted = digest !== undefined
    if (kind === 'tag') {
      const found = await view?.tag(inTree, name, signal)
      return found === digest ? undefined : `on the disk it is ${found ?? 'gone'}`
    }
    if (kind === 'manifest') {
      const found = (await view?.hasManifest(inTree, as, signal)) ?? false
      if (found !== wanted) return `in the tree on the disk it is ${found ? 'there' : 'gone'}`
      const parts = found && made !== undefined ? partsOf(made) : []
      return parts.map(lacksBlob).find((problem) => problem !== undefined)
    }
    const linked = record(`link/${domain}/${short}\0${name}`) !== undefined
    const found = linked || ((await view?.hasBlob(inTree, as, signal)) ?? false)
    if (found !== wanted) return `the repository ${found ? 'has' : 'lacks'} it on the disk`
    return found ? lacksBlob(name) : undefined
  }

  return {
    advance() {
      const names = disk.syncedNames(`${data}/index`).filter((name) => name.endsWith('.log'))
      for (const name of names.sort()) {
        const from = read.get(name) ?? 0
        const bytes = disk.synced(`${data}/index/${name}`, from)
        if (!read.has(name)) read.set(name, 0)
        for (const batch of readLog(bytes ?? Buffer.alloc(0), from)) {
          read.set(name, batch.end)
          for (const { key, value } of batch.rows) {
            if (value === undefined) rows.delete(key.toString('latin1'))
            else rows.set(key.toString('latin1'), Buffer.from(value))
          }
        }
      }
    },
    lacks: (promise) => lacks(promise).catch((error: Error) => error.message),
    hasFile: (digest) => blobRow(digest)?.inline === false,
    logs: () => read.size
  }
}
