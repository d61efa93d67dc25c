/** A proxy as companies have them: forwards plain requests, tunnels others, and takes every name for this machine. */
import { createServer, request } from 'node:http'
import { type AddressInfo, connect } from 'node:net'

/** What {@link startHttpProxy} starts. */
export interface HttpProxy {
  readonly url: string
  /** `METHOD target` of each request, with the credentials that came along. */
  readonly asked: string[]
  stop(): Promise<void>
}

/** Starts it on a free port of 127.0.0.1; with `login`, only for those who show it. */
export async function startHttpProxy(login?: { user: string; password: string }): Promise<HttpProxy> {
  const asked: string[] = []
  const expected = login && `Basic ${Buffer.from(`${login.user}:${login.password}`).toString('base64')}`
  const server = createServer((req, res) => {
    asked.push(`${req.method} ${req.url}`)
    if (expected !== undefined && req.headers['proxy-authorization'] !== expected) {
      res.writeHead(407).end()
      return
    }
    const target = new URL(req.url ?? '')
    const { 'proxy-authorization': _, 'proxy-connection': __, ...headers } = req.headers
    const path = target.pathname + target.search
    const onward = request({ host: '127.0.0.1', port: target.port, method: req.method, path, headers })
    onward.on('response', (answer) => {
      res.writeHead(answer.statusCode ?? 502, answer.headers)
      answer.pipe(res)
    })
    onward.on('error', () => res.destroy())
    req.pipe(onward)
  })
  server.on('connect', (req, socket, head) => {
    asked.push(`CONNECT ${req.url}`)
    socket.on('error', () => undefined)
    if (expected !== undefined && req.headers['proxy-authorization'] !== expected) {
      socket.end('HTTP/1.1 407 Proxy Authentication Required\r\n\r\n')
      return
    }
    const onward = connect(Number(req.url?.split(':')[1]), '127.0.0.1', () => {
      socket.write('HTTP/1.1 200 OK\r\n\r\n')
      onward.write(head)
      onward.pipe(socket).pipe(onward)
    })
    onward.on('error', () => socket.destroy())
    socket.on('close', () => onward.destroy())
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    asked,
    async stop() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    }
  }
}
