/** HTTP servers on loopback that end with their test. */
import { createServer, type RequestListener, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'

/** Servers of one suite. */
export interface HttpServers {
  /** Starts one on a port of its own; its multiaddr, without a peer. */
  listen(handler: RequestListener): Promise<string>
  /** One that doesn't listen, for streams. */
  silent(handler: RequestListener): Server
}

/** Makes them for the suite that calls it; they are closed after each test. */
export function useHttpServers(): HttpServers {
  const servers: Server[] = []
  const silent = (handler: RequestListener) => {
    const server = createServer(handler)
    servers.push(server)
    return server
  }

  afterEach(() => {
    for (const server of servers.splice(0)) {
      server.closeAllConnections()
      server.close()
    }
  })

  return {
    silent,
    async listen(handler) {
      const server = silent(handler)
      await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
      return `/ip4/127.0.0.1/tcp/${(server.address() as AddressInfo).port}/http`
    }
  }
}
