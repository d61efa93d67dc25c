/**
 * What `steering-upstream.spec.ts` runs in a network of its own: gateways that pull through a registry which sends them on,
 * by redirects of manifests and by the realm of its token service. Prints one line of JSON.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { listener, serveNames, setUp } from './sealed-machine.ts'
import { GATEWAYS, PUBLIC } from './steering-table.ts'
import { type Led, TARGETS, WAYS } from './steering-upstream-table.ts'

async function main(): Promise<void> {
  const machine = await setUp()
  const targets = new Map<string, string>()
  const registry = createServer((request, answer) => {
    const [, way = '', number = ''] = /\/app\/manifests\/([a-z]+)-(\d+)$/.exec(request.url ?? '') ?? []
    const target = targets.get(number) ?? ''
    if (way === 'redirect') answer.writeHead(307, { location: `${target}/somewhere` }).end()
    else if (way === 'realm')
      answer.writeHead(401, { 'www-authenticate': `Bearer realm="${target}/token",service="a"` }).end()
    else answer.writeHead(404).end()
  })
  await new Promise<void>((resolve) => registry.listen(0, PUBLIC, resolve))
  const url = `http://${PUBLIC}:${(registry.address() as AddressInfo).port}`
  const led: Led[] = []
  try {
    for (const { gateway: kind, env } of GATEWAYS) {
      serveNames(machine.dns)
      const gateway = await machine.gateway({
        SEAWAY_UPSTREAMS: `registry.example=${url} published=no`,
        SEAWAY_UPSTREAM_TIMEOUT: '2s',
        ...env
      })
      const port = new URL(gateway.url).port
      await Promise.all(
        TARGETS.flatMap((host, i) =>
          WAYS.map(async (way, j) => {
            const { port: own, dialled, server } = await listener()
            const number = i * WAYS.length + j
            targets.set(String(number), `http://${host}:${own}`)
            const path = `/v2/registry.example/app/manifests/${way}-${number}`
            const { status } = await fetch(`http://127.0.0.1:${port}${path}`)
            led.push({ gateway: kind, host, way, status, dialled: [...dialled] })
            server.close()
          })
        )
      )
      await gateway.stop()
    }
    process.stdout.write(`${JSON.stringify(led)}\n`)
  } finally {
    registry.close()
    await machine.stop()
  }
}

await main()
process.exit(0)
