import { createSocket } from 'node:dgram'
import { createServer } from 'node:net'
import { createLog } from '../../src/log.ts'
import type { Records } from '../../src/store/records.ts'

/** A log that says nothing. */
export const log = createLog('silent')

/** A signal that never aborts by itself within a test. */
export const calm = (): AbortSignal => new AbortController().signal

/** A directory's CID in each form that records use. */
export const ROOT = 'bafybeiaysi4s6lnjev27ln5icwm6tueaw2vdykrtjkwiphwekaywqhcjze'
export const ROOT2 = 'bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi'
export const ROOT_V0 = 'Qmc2o4ZNtbinEmRF9UGouBYTuiHbtCSShMFRbBY5ZiZDmU'
export const PEER = '12D3KooWGatU9DxBhXy6DWJB1Me9WmZGfJ7TvpjJRzZ3oCUGtTkR'
export const KEY = 'k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8'

/** A clock that only moves when told to. */
export function clock(start = Date.UTC(2026, 10, 1)): { now: () => number; pass: (seconds: number) => void } {
  let time = start
  return {
    now: () => time,
    pass: (seconds) => {
      time += seconds * 1000
    }
  }
}

/** Records in memory, which can be handed to a second instance as after a restart. */
export function memoryRecords(): Pick<Records, 'get' | 'put'> & { kept: Map<string, Uint8Array> } {
  const kept = new Map<string, Uint8Array>()
  return {
    kept,
    get: async (key) => kept.get(key),
    put: async (key, value) => void kept.set(key, value)
  }
}

/** An address on which nothing listens, neither UDP nor TCP. */
export async function deadAddress(): Promise<string> {
  const server = createServer()
  const port = await new Promise<number>((done) =>
    server.listen(0, '127.0.0.1', () => done((server.address() as { port: number }).port))
  )
  await new Promise((done) => server.close(done))
  return `127.0.0.1:${port}`
}

/** Sends a UDP packet from a port of its own: what a forger off the path can do at best. */
export async function sendFrom(bytes: Buffer, to: { port: number; address: string }): Promise<void> {
  const socket = createSocket('udp4')
  await new Promise<void>((done) => socket.send(bytes, to.port, to.address, () => done()))
  await new Promise<void>((done) => socket.close(() => done()))
}
