/**
 * Clients that take their time, in a process of their own (`startSlowClients`). A third sends headers that
 * never end, a third uploads just fast enough not to be refused, a third reads a layer a few bytes at a time. Each that
 * is ended begins again. Prints a line of JSON as soon as all are at it, and one at each line that it reads.
 */

import { spawn } from 'node:child_process'
import { connect, type Socket } from 'node:net'
import { createInterface } from 'node:readline'
import { fileURLToPath } from 'node:url'

/** What the slow clients have come to. */
export interface SlowState {
  /** Connections that are open now. */
  readonly open: number
  /** How often one was ended, by an answer or without. */
  readonly ended: number
}

/** Slow clients that are at it. */
export interface SlowClients {
  state(): Promise<SlowState>
  stop(): Promise<void>
}

/** How often each sends something, in milliseconds. */
const PERIOD = 250

/** How many addresses of this machine they come from. */
const ADDRESSES = 8

/** What slow clients do. */
export type SlowKind = 'headers' | 'bodies' | 'readers'

/**
 * Starts `count` of them, in turn of each kind.
 *
 * @param blob the path of a layer that is much longer than what sockets hold
 */
export async function startSlowClients(
  port: number,
  count: number,
  blob: string,
  kinds: readonly SlowKind[] = ['headers', 'bodies', 'readers']
): Promise<SlowClients> {
  const args = [fileURLToPath(import.meta.url), String(port), String(count), blob, kinds.join()]
  const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()))
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]()
  const next = async (): Promise<SlowState> => {
    const { done, value } = await lines.next()
    if (done === true) throw new Error('the slow clients have gone')
    return JSON.parse(value) as SlowState
  }
  await next()
  return {
    async state() {
      child.stdin.write('\n')
      return next()
    },
    async stop() {
      child.kill()
      await ended
    }
  }
}

async function main(port: number, count: number, blob: string, wanted: string): Promise<void> {
  let open = 0
  let ended = 0
  const begun = new Set<number>()

  /** Has one client connect, again and again, and do its work on each connection. */
  function client(i: number, work: (socket: Socket) => () => void): void {
    const socket = connect({ port, host: '127.0.0.1', localAddress: `127.0.0.${10 + (i % ADDRESSES)}` })
    let timer: NodeJS.Timeout | undefined
    socket.once('connect', () => {
      open++
      begun.add(i)
      timer = setInterval(work(socket), PERIOD)
    })
    socket.on('error', () => undefined)
    socket.once('close', () => {
      clearInterval(timer)
      if (timer !== undefined) open--
      ended++
      setTimeout(() => client(i, work), PERIOD)
    })
  }

  type Work = (socket: Socket) => () => void
  const headers: Work = (socket) => {
    socket.resume().write('GET /v2/ HTTP/1.1\r\nHost: a\r\nX-Slow: ')
    return () => socket.write('x')
  }
  const bodies: Work = (socket) => {
    socket.write('POST /v2/slow/blobs/uploads/ HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n')
    let text = ''
    let begin = false
    socket.on('data', (chunk: Buffer) => {
      text += chunk.toString()
      const location = /^location: (\S+)/im.exec(text)?.[1]
      if (begin || location === undefined) return
      begin = true
      socket.write(`PATCH ${location} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n`)
    })
    const piece = 'y'.repeat(256)
    return () => begin && socket.write(piece)
  }
  const readers: Work = (socket) => {
    socket.pause().write(`GET ${blob} HTTP/1.1\r\nHost: a\r\n\r\n`)
    return () => socket.read(1024)
  }
  const works: Record<string, Work> = { headers, bodies, readers }
  const kinds = wanted.split(',').map((kind) => works[kind] as Work)
  for (let i = 0; i < count; i++) client(i, kinds[i % kinds.length] as Work)
  const tell = () => void process.stdout.write(`${JSON.stringify({ open, ended })}\n`)
  while (begun.size < count) await new Promise((resolve) => setTimeout(resolve, 20))
  tell()
  process.stdin.on('data', tell)
}

const [script, port, count, blob = '', kinds = ''] = process.argv.slice(1)
if (script === fileURLToPath(import.meta.url)) await main(Number(port), Number(count), blob, kinds)
