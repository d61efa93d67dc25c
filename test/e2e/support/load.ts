/** A load of small HTTP requests over kept connections, cheap enough to leave the machine to the server. */
import { connect, type Socket } from 'node:net'

/** What clients accept; docker-registry hides OCI manifests from those that don't name them. */
const ACCEPT =
  'accept: application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json, */*'

/** A request of the load. */
export interface LoadRequest {
  method: string
  path: string
  headers?: Record<string, string>
  body?: string
}

/** What is sent in one measurement. */
export interface Sample {
  count: number
  request: (i: number) => LoadRequest
}

/** What a measurement gave: requests a second, and how long one took, in milliseconds. */
export interface Measured {
  rate: number
  p50: number
  p99: number
}

/** Sends `count` requests, each connection one after another. Throws at the first answer that is no success. */
export async function load(
  options: Sample & { port: number; host: string; connections: number }
): Promise<Measured> {
  const { count, port, host } = options
  // Made before the clock starts, so that the load itself costs little.
  const requests = Array.from({ length: count }, (_, i) => {
    const request = options.request(i)
    return { head: request.method === 'HEAD', bytes: encode(request, host) }
  })
  const times: number[] = []
  let next = 0
  const sockets = await Promise.all(Array.from({ length: options.connections }, () => open(port)))
  const start = performance.now()
  await Promise.all(
    sockets.map(async (socket) => {
      const exchange = exchanger(socket)
      for (let request = requests[next++]; request !== undefined; request = requests[next++]) {
        const sent = performance.now()
        const status = await exchange(request.bytes, request.head)
        times.push(performance.now() - sent)
        if (status >= 300) throw new Error(`answered ${status}: ${request.bytes.toString().slice(0, 200)}`)
      }
    })
  )
  const seconds = (performance.now() - start) / 1000
  for (const socket of sockets) socket.destroy()
  times.sort((a, b) => a - b)
  const at = (share: number): number =>
    times[Math.min(times.length - 1, Math.floor(times.length * share))] ?? 0
  return { rate: count / seconds, p50: at(0.5), p99: at(0.99) }
}

function encode({ method, path, headers = {}, body = '' }: LoadRequest, host: string): Buffer {
  const lines = [`${method} ${path} HTTP/1.1`, `host: ${host}`, ACCEPT]
  if (method === 'PUT') lines.push(`content-length: ${Buffer.byteLength(body)}`)
  for (const [name, value] of Object.entries(headers)) lines.push(`${name}: ${value}`)
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`)
}

function open(port: number): Promise<Socket> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: '127.0.0.1', port, noDelay: true }, () => resolve(socket))
    socket.once('error', reject)
  })
}

/** Sends one request at a time and resolves with the status once its answer is complete. */
function exchanger(socket: Socket): (bytes: Buffer, head: boolean) => Promise<number> {
  let done: ((status: number) => void) | undefined
  let fail: ((error: Error) => void) | undefined
  let text = ''
  let noBody = false
  socket.on('data', (chunk: Buffer) => {
    text += chunk.toString('latin1')
    const end = text.indexOf('\r\n\r\n')
    if (end < 0) return
    const length = noBody ? 0 : Number(/\r\ncontent-length: *(\d+)/i.exec(text.slice(0, end))?.[1] ?? 0)
    if (text.length < end + 4 + length) return
    const status = Number(text.slice(9, 12))
    text = text.slice(end + 4 + length)
    done?.(status)
  })
  socket.on('error', (error) => fail?.(error))
  socket.on('close', () => fail?.(new Error('the server closed the connection')))
  return (bytes, head) =>
    new Promise((resolve, reject) => {
      noBody = head
      done = resolve
      fail = reject
      socket.write(bytes)
    })
}
