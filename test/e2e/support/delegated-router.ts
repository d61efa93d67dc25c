/** A delegated router that knows one provider for everything: how Kubo learns who has an HTTP gateway. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

/** A router that listens. */
export interface DelegatedRouter {
  readonly url: string
  /** What it was asked. */
  readonly asked: string[]
  stop(): Promise<void>
}

/**
 * Starts one. @see https://specs.ipfs.tech/routing/http-routing-v1/
 *
 * @param provider what it answers to every question for providers
 */
export async function startDelegatedRouter(
  provider: { id: string; addresses: readonly string[] },
  options: {
    /** Whether it goes on looking for others, as one over a DHT does, when it has named the one. */
    endless?: boolean
  } = {}
): Promise<DelegatedRouter> {
  const record = {
    Schema: 'peer',
    ID: provider.id,
    Addrs: provider.addresses,
    Protocols: ['transport-ipfs-gateway-http']
  }
  const asked: string[] = []
  const server = createServer((request, answer) => {
    asked.push(request.url ?? '')
    const known = request.url?.startsWith('/routing/v1/providers/') === true
    if (!known) {
      answer.writeHead(404).end()
      return
    }
    const lines = request.headers.accept?.includes('application/x-ndjson') === true
    answer.writeHead(200, { 'content-type': lines ? 'application/x-ndjson' : 'application/json' })
    if (lines && options.endless === true) {
      answer.write(`${JSON.stringify(record)}\n`)
      return
    }
    answer.end(lines ? `${JSON.stringify(record)}\n` : JSON.stringify({ Providers: [record] }))
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
