/** What a process did to files and sockets, out of an strace of it. */
import { createReadStream } from 'node:fs'

/**
 * The options of strace that {@link readTrace} needs: all threads, what descriptors are, whole contents in hex, no
 * reads. Contents are whole because {@link readTrace} refuses those that strace cut off.
 */
export function straceOf(output: string): string[] {
  const calls =
    'open openat creat close dup dup2 dup3 fcntl mmap msync write pwrite64 writev pwritev pwritev2 sendto sendmsg ' +
    'sendfile copy_file_range truncate ftruncate fallocate fsync fdatasync sync_file_range syncfs sync rename ' +
    'renameat renameat2 unlink unlinkat rmdir mkdir mkdirat link linkat symlink symlinkat io_uring_setup'
  const what = ['-e', `trace=${calls.replaceAll(' ', ',')}`, '-e', 'signal=none']
  return ['strace', '-f', '-yy', '-xx', '-s', '8000000', '--seccomp-bpf', '-o', output, ...what]
}

/** One system call that succeeded. `begun` and `ended` are its places in the order of all begins and ends. */
export interface Call {
  readonly name: string
  readonly args: string
  readonly result: string
  readonly begun: number
  readonly ended: number
}

/** How long the result of a call can be as text: a descriptor with its path in hex. */
const LONGEST_RESULT = 4 * 4096

/** A call begins, or has ended without failing. `at` is a place in the order of all of them. */
export type TraceEvent =
  | { readonly kind: 'begin'; readonly name: string; readonly args: string; readonly at: number }
  | { readonly kind: 'end'; readonly call: Call }

/** All calls in order; of those that failed the beginnings only. */
export async function* readTrace(path: string): AsyncGenerator<TraceEvent> {
  const unfinished = new Map<string, { name: string; args: string; begun: number }>()
  let at = 0
  for await (const line of lines(path)) {
    at++
    const [, thread = '', rest = ''] = /^(\d+) +(.*)$/s.exec(line) ?? []
    let call: { name: string; args: string; begun: number } | undefined
    let tail = rest
    const resumed = /^<\.\.\. (\w+) resumed>/.exec(rest.slice(0, 60))
    if (resumed !== null) {
      call = unfinished.get(thread)
      unfinished.delete(thread)
      if (call === undefined || call.name !== resumed[1])
        throw new Error(`strace resumes what it did not begin: ${line.slice(0, 200)}`)
      tail = rest.slice(resumed[0].length)
    } else {
      const open = rest.indexOf('(')
      const name = rest.slice(0, open)
      if (open <= 0 || !/^\w+$/.test(name)) continue
      call = { name, args: '', begun: at }
      tail = rest.slice(open + 1)
    }
    const { name, begun } = call
    if (tail.endsWith('<unfinished ...>')) {
      const args = call.args + tail.slice(0, -'<unfinished ...>'.length)
      unfinished.set(thread, { name, args, begun })
      yield { kind: 'begin', name, args, at }
      continue
    }
    const equals = /\) += [^)]*(?:\([A-Za-z /]*\))?$/.exec(tail.slice(-LONGEST_RESULT))
    if (equals === null) continue
    const cut = Math.max(0, tail.length - LONGEST_RESULT) + equals.index
    const args = call.args + tail.slice(0, cut)
    const result = tail.slice(cut).replace(/^\) += /, '')
    if (resumed === null) yield { kind: 'begin', name, args, at }
    if (result.startsWith('-1') || result.startsWith('?')) continue
    yield { kind: 'end', call: { name, args, result, begun, ended: at } }
  }
}

async function* lines(path: string): AsyncGenerator<string> {
  let rest: Buffer[] = []
  for await (const chunk of createReadStream(path, { highWaterMark: 1 << 20 }) as AsyncIterable<Buffer>) {
    let from = 0
    for (let end = chunk.indexOf(10); end >= 0; end = chunk.indexOf(10, from)) {
      yield Buffer.concat([...rest, chunk.subarray(from, end)]).toString('latin1')
      rest = []
      from = end + 1
    }
    rest.push(Buffer.from(chunk.subarray(from)))
  }
}

/** The strings in a call's arguments, as bytes, in order. */
export function strings(args: string): Buffer[] {
  const found: Buffer[] = []
  for (let at = args.indexOf('"'); at >= 0; at = args.indexOf('"', at)) {
    const end = args.indexOf('"', at + 1)
    if (args.startsWith('...', end + 1)) throw new Error('strace cut a string off')
    found.push(bytesOf(args.slice(at + 1, end)))
    at = end + 1
  }
  return found
}

const bytesOf = (hex: string) => Buffer.from(hex.replaceAll(String.raw`\x`, ''), 'hex')

/** The number of a descriptor and what it is: a path, or `TCP:[…]`. */
export function descriptor(text: string): { fd: number; what: string } {
  const [, fd = '', what = ''] = /^(\d+)<(\w+:\[.*?\]|[^>]*)>/s.exec(text) ?? []
  const plain = what.replace(/^\\x.*$/s, (hex) => bytesOf(hex).toString())
  return { fd: Number(fd), what: plain.replace(/ \(deleted\)$/, '') }
}
