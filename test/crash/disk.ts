/**
 * A disk as POSIX promises it: a file's bytes are on it as far as the file was synced, a name as far as its folder
 * was. Fed with system calls, it tells what would be there had the power failed at that moment.
 *
 * @see https://pubs.opengroup.org/onlinepubs/9799919799/functions/fsync.html
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Random } from '../fuzz/random.ts'
import { type Call, descriptor, strings } from './trace.ts'

type Change = { offset: number; bytes: Buffer } | { length: number }

/** A file or a folder, with all that was done to it and how much of that is on the disk. */
interface Node {
  readonly folder: boolean
  /** Of a file. */
  readonly changes: Change[]
  /** Of a folder: what a name points at from then on. */
  readonly names: { readonly name: string; readonly node: Node | undefined }[][]
  synced: number
}

/** Which unsynced changes a rebuilt folder has. */
export type Kept =
  /** None: all that was not synced is lost. */
  | 'nothing'
  /** All: what `kill -9` leaves. */
  | 'everything'
  /** Of each file and folder a beginning, whose last write may be torn. */
  | 'some'

/** See the head of the file. */
export interface Disk {
  begin(name: string, args: string, at: number): void
  end(call: Call): void
  /**
   * What is on the disk of a file, its bytes from `from` on: `undefined` when its name isn't, less than was written
   * where that was not synced.
   */
  synced(path: string, from?: number): Buffer | undefined
  /** The paths of files in a folder that are on the disk. */
  syncedNames(folder: string): string[]
  /** Writes what is left after the power failed into `target`. */
  rebuild(target: string, kept: Kept, random: Random): void
}

/** A disk whose only folder in the beginning is `root`; what is elsewhere is not looked at. */
export function createDisk(root: string): Disk {
  const create = (folder: boolean): Node => ({ folder, changes: [], names: [], synced: 0 })
  const top = create(true)
  /** Names as the running system sees them. */
  const now = new Map<string, Node>([[root, top]])
  const open = new Map<number, { node: Node; offset: number; append: boolean }>()
  /** How much there was to sync when a sync began, by thread-independent place in the trace. */
  const begun = new Map<number, { node: Node; count: number }>()

  const within = (path: string) => path === root || path.startsWith(`${root}/`)
  const folderOf = (path: string) => path.slice(0, path.lastIndexOf('/'))
  const nameOf = (path: string) => path.slice(path.lastIndexOf('/') + 1)
  const lengthOf = (node: Node) => (node.folder ? node.names.length : node.changes.length)

  function name(changes: readonly { path: string; node: Node | undefined }[]): void {
    const byFolder = Map.groupBy(changes, ({ path }) => folderOf(path))
    for (const [folder, here] of byFolder) {
      now.get(folder)?.names.push(here.map(({ path, node }) => ({ name: nameOf(path), node })))
    }
    for (const { path, node } of changes) {
      if (node === undefined) now.delete(path)
      else now.set(path, node)
    }
  }

  /** Renames of folders don't occur. */
  function rename(from: string, to: string): void {
    const node = now.get(from)
    if (node === undefined || node.folder) return
    // In one folder it is one change; between two, each has its own.
    name([
      { path: to, node },
      { path: from, node: undefined }
    ])
  }

  function opened(call: Call): void {
    const { fd, what } = descriptor(call.result)
    if (!within(what)) return
    let node = now.get(what)
    if (node === undefined) {
      if (!call.args.includes('O_CREAT')) return
      node = create(false)
      name([{ path: what, node }])
    } else if (call.args.includes('O_TRUNC')) node.changes.push({ length: 0 })
    open.set(fd, { node, offset: 0, append: call.args.includes('O_APPEND') })
  }

  function written(call: Call, positioned: boolean): void {
    const file = open.get(descriptor(call.args).fd)
    if (file === undefined) return
    const bytes = Buffer.concat(strings(call.args)).subarray(0, Number.parseInt(call.result, 10))
    const end = () => file.node.changes.reduce((size, each) => endOf(size, each), 0)
    const last = () => Number(/(\d+)\s*$/.exec(call.args.slice(-30))?.[1])
    const offset = positioned ? last() : file.append ? end() : file.offset
    if (!positioned) file.offset = offset + bytes.length
    file.node.changes.push({ offset, bytes })
  }

  const paths = (call: Call) => strings(call.args).map(String)

  return {
    begin(what, args, at) {
      // Another thread may get the number again before this one is told that its close has ended.
      if (what === 'close') open.delete(descriptor(args).fd)
      if (what !== 'fsync' && what !== 'fdatasync') return
      const file = open.get(descriptor(args).fd)
      if (file !== undefined) begun.set(at, { node: file.node, count: lengthOf(file.node) })
    },
    end(call) {
      const [first = '', second = ''] = call.args.startsWith('"') ? paths(call) : []
      switch (call.name) {
        case 'open':
        case 'openat':
        case 'creat':
          return opened(call)
        case 'write':
        case 'writev':
          return written(call, false)
        case 'pwrite64':
        case 'pwritev':
        case 'pwritev2':
          return written(call, true)
        case 'ftruncate': {
          const length = Number(/(\d+)\s*$/.exec(call.args)?.[1])
          return void open.get(descriptor(call.args).fd)?.node.changes.push({ length })
        }
        case 'fsync':
        case 'fdatasync': {
          const sync = begun.get(call.begun)
          begun.delete(call.begun)
          if (sync !== undefined) sync.node.synced = Math.max(sync.node.synced, sync.count)
          return
        }
        case 'rename':
          return within(first) || within(second) ? rename(first, second) : undefined
        case 'unlink':
        case 'rmdir':
          return within(first) ? name([{ path: first, node: undefined }]) : undefined
        case 'mkdir':
          return within(first) && first !== root ? name([{ path: first, node: create(true) }]) : undefined
        case 'mmap':
          if (/PROT_WRITE.*MAP_SHARED/.test(call.args) && call.args.includes(`<${hexOf(root)}`))
            throw new Error('a file is written through memory, which a trace does not show')
          return
        case 'close':
        case 'sync':
        case 'fcntl':
        case 'sendto':
        case 'sendmsg':
          return
        case 'io_uring_setup':
          // Without a thread of the kernel's that polls it, libuv uses a ring for epoll alone.
          if (call.args.includes('IORING_SETUP_SQPOLL')) throw new Error('files are written through a ring')
          return
        default:
          // What else changes files is not expected here, and would make the picture wrong.
          if (call.args.includes(hexOf(root))) throw new Error(`${call.name} is not understood`)
      }
    },
    synced(path, from = 0) {
      const node = resolve(path)
      return node === undefined || node.folder
        ? undefined
        : contentOf(node.changes.slice(0, node.synced), from)
    },
    syncedNames(path) {
      const node = resolve(path)
      return node === undefined ? [] : [...namesOf(node.names.slice(0, node.synced)).keys()]
    },
    rebuild(target, kept, random) {
      build(top, target, kept, random, new Map())
    }
  }

  /** What is on the disk at `path`. */
  function resolve(path: string): Node | undefined {
    let node: Node | undefined = top
    for (const part of path.slice(root.length + 1).split('/'))
      node = node && namesOf(node.names.slice(0, node.synced)).get(part)
    return node
  }
}

const hexOf = (text: string) =>
  [...Buffer.from(text)].map((byte) => `\\x${byte.toString(16).padStart(2, '0')}`).join('')

const endOf = (size: number, change: Change) =>
  'length' in change ? change.length : Math.max(size, change.offset + change.bytes.length)

function contentOf(changes: readonly Change[], from = 0): Buffer {
  const most = changes.reduce((most, each) => Math.max(most, endOf(most, each)), 0)
  const bytes = Buffer.alloc(Math.max(0, most - from))
  let size = 0
  for (const change of changes) {
    size = endOf(size, change)
    if ('length' in change) bytes.fill(0, Math.max(0, change.length - from))
    else if (change.offset + change.bytes.length > from) {
      const skip = Math.max(0, from - change.offset)
      change.bytes.copy(bytes, change.offset + skip - from, skip)
    }
  }
  return bytes.subarray(0, Math.max(0, size - from))
}

function namesOf(changes: Node['names']): Map<string, Node> {
  const found = new Map<string, Node>()
  for (const { name, node } of changes.flat()) {
    if (node === undefined) found.delete(name)
    else found.set(name, node)
  }
  return found
}

/** How many of the changes of a file or folder are there after the power failed. */
function countOf(synced: number, all: number, kept: Kept, random: Random): number {
  if (kept === 'nothing') return synced
  return kept === 'everything' ? all : synced + random.below(all - synced + 1)
}

function build(node: Node, target: string, kept: Kept, random: Random, files: Map<Node, Buffer>): void {
  mkdirSync(target, { recursive: true })
  const count = countOf(node.synced, node.names.length, kept, random)
  for (const [name, child] of namesOf(node.names.slice(0, count))) {
    const path = join(target, name)
    if (child.folder) build(child, path, kept, random, files)
    else {
      // A file may have two names after a rename between folders of which one was synced.
      const bytes = files.get(child) ?? tear(child, kept, random)
      files.set(child, bytes)
      writeFileSync(path, bytes, { mode: 0o600 })
    }
  }
}

/** A file's bytes; of the last write that is there, and was not synced, perhaps only a part. */
function tear(node: Node, kept: Kept, random: Random): Buffer {
  const count = countOf(node.synced, node.changes.length, kept, random)
  const changes = node.changes.slice(0, count)
  const last = changes.at(-1)
  if (kept === 'some' && count > node.synced && last !== undefined && 'bytes' in last && random.oneIn(2))
    changes[count - 1] = {
      offset: last.offset,
      bytes: last.bytes.subarray(0, random.below(last.bytes.length + 1))
    }
  return contentOf(changes)
}
