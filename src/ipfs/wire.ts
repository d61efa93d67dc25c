import { isIP, type LookupFunction, connect as netConnect, type Socket } from 'node:net'
import { connect as tlsConnect } from 'node:tls'
import type { Stream } from '@libp2p/interface'
import { garbage } from '../store/garbage.ts'
import { certificateFault } from './certificate-fault.ts'
import { type Intake, offer } from './intake.ts'

/** A connection on which requests go out; what comes back goes into an {@link Intake}. */
export interface Wire {
  send(text: string): void
  /** Goes on after the intake had no room. */
  resume(): void
  /** Breaks it off. Nothing is written into the intake's memory afterwards. */
  close(): void
}

/** Who reads a wire. */
export interface WireReader {
  readonly intake: Intake
  /** The other side has ended the connection, in order or not; never called after {@link Wire.close}. */
  closed(error: Error | undefined): void
}

/** Opens a connection; rejects when it can't be had or the signal is aborted. */
export type OpenWire = (reader: WireReader, signal: AbortSignal) => Promise<Wire>

/** Where a socket is told to read to while the intake has no room: by the time it reads again, the memory that
 * it had may be somebody else's. */
const PARKING = 4096

/** What arrived while there was no room. */
function createRest(reader: WireReader, fail: (error: Error) => void) {
  let rest: Uint8Array | undefined
  return {
    /** Passes on what it can; false when some is left, which is kept (as it is: its memory must last). */
    pass(chunk: Uint8Array): boolean {
      try {
        const taken = offer(reader.intake, chunk)
        rest = taken < chunk.length ? chunk.subarray(taken) : undefined
        return rest === undefined && reader.intake.room() !== undefined
      } catch (error) {
        fail(error as Error)
        return false
      }
    },
    /** Passes on what was kept. */
    again(): boolean {
      return this.pass(rest ?? new Uint8Array())
    }
  }
}

/** An error of the reader's, or the connection's end, told once. */
function createEnding(reader: WireReader, destroy: () => void) {
  let over = false
  return {
    over: () => over,
    end(error: Error | undefined): void {
      if (over) return
      over = true
      destroy()
      reader.closed(error)
    },
    close(): void {
      over = true
      destroy()
    }
  }
}

/**
 * A TCP connection that is read straight into the intake's memory: no buffer of its own, no stream, no copy.
 */
export function openSocket(target: { url: URL; lookup: LookupFunction | undefined }): OpenWire {
  const { url, lookup } = target
  const host = url.hostname.replace(/^\[|\]$/g, '')
  if (url.protocol === 'https:') return openTls(host, Number(url.port || 443), lookup)
  return async (reader, signal) => {
    const parking = Buffer.allocUnsafeSlow(PARKING)
    const ending = createEnding(reader, () => socket.destroy())
    const rest = createRest(reader, (error) => ending.end(error))
    const next = (): Uint8Array => {
      try {
        return (ending.over() ? undefined : reader.intake.room()) ?? parking
      } catch (error) {
        ending.end(error as Error)
        return parking
      }
    }
    const socket = netConnect({
      host,
      port: Number(url.port || 80),
      ...(lookup && { lookup }),
      noDelay: true,
      onread: {
        buffer: next,
        callback(count, buffer) {
          if (ending.over()) return false
          if (buffer === parking) return rest.pass(Buffer.from(parking.subarray(0, count)))
          try {
            reader.intake.took(count)
            return reader.intake.room() !== undefined
          } catch (error) {
            ending.end(error as Error)
            return false
          }
        }
      }
    })
    watch(socket, ending.end)
    await connected(socket, 'connect', signal)
    return {
      send: (text) => void socket.write(text),
      resume() {
        if (!ending.over() && rest.again()) socket.resume()
      },
      close: ending.close
    }
  }
}

function openTls(host: string, port: number, lookup: LookupFunction | undefined): OpenWire {
  return async (reader, signal) => {
    const socket = tlsConnect({
      host,
      port,
      ...(lookup && { lookup }),
      ...(isIP(host) === 0 && { servername: host })
    })
    const ending = createEnding(reader, () => socket.destroy())
    const rest = createRest(reader, (error) => ending.end(error))
    socket.on('data', (chunk: Uint8Array) => {
      if (!ending.over() && !rest.pass(chunk)) socket.pause()
    })
    watch(socket, ending.end)
    await connected(socket, 'secureConnect', signal).catch((error: Error) => {
      throw certificateFault(error)
    })
    return {
      send: (text) => void socket.write(text),
      resume() {
        if (!ending.over() && rest.again()) socket.resume()
      },
      close: ending.close
    }
  }
}

/** Ends when the socket does. */
function watch(socket: Socket, end: (error: Error | undefined) => void): void {
  socket.on('error', end)
  socket.on('end', () => end(undefined))
  socket.on('close', () => end(undefined))
}

async function connected(socket: Socket, event: string, signal: AbortSignal): Promise<void> {
  const giveUp = () => socket.destroy(signal.reason as Error)
  if (signal.aborted) giveUp()
  signal.addEventListener('abort', giveUp)
  try {
    await new Promise<void>((resolve, reject) => {
      socket.once(event, () => resolve())
      socket.once('error', reject)
      socket.once('close', () => reject(new Error('the connection was closed')))
    })
  } finally {
    signal.removeEventListener('abort', giveUp)
  }
}

/** A libp2p stream: its messages are copied once, to where they belong. */
export function openStream(dial: (signal: AbortSignal) => Promise<Stream>): OpenWire {
  return async (reader, signal) => {
    const stream = await dial(signal)
    const ending = createEnding(reader, () => {
      if (stream.status === 'open' || stream.status === 'closing')
        stream.abort(new Error('the answer is no longer read'))
    })
    const rest = createRest(reader, (error) => ending.end(error))
    /** Parts of messages that came before the stream heard that it should pause. */
    const queue: Uint8Array[] = []
    let held = false
    let ended = false
    const pass = () => {
      for (;;) {
        if (ending.over()) return
        if (held && !rest.again()) return
        held = false
        const part = queue.shift()
        if (part === undefined) break
        held = !rest.pass(part)
        if (held) break
      }
      if (held && stream.readStatus === 'readable') stream.pause()
      else if (!held && ended) ending.end(undefined)
    }
    /** The stream's state may have changed since it was looked at, and then it throws. */
    const drain = () => {
      try {
        pass()
      } catch (error) {
        ending.end(error as Error)
      }
    }
    stream.addEventListener('message', ({ data }) => {
      garbage(data.byteLength)
      if (data instanceof Uint8Array) queue.push(data)
      else queue.push(...data)
      if (!held) drain()
    })
    const onEnd = () => {
      ended = true
      setImmediate(drain)
    }
    stream.addEventListener('remoteCloseWrite', onEnd)
    stream.addEventListener('close', ({ error }) => (error === undefined ? onEnd() : ending.end(error)))
    return {
      send(text) {
        stream.send(Buffer.from(text))
      },
      resume() {
        if (ending.over()) return
        drain()
        if (!held && stream.readStatus === 'paused') stream.resume()
      },
      close: ending.close
    }
  }
}
