/**
 * What `steering.spec.ts` runs in a network of its own, whose name server it is and all of whose addresses are its own:
 * gateways that are asked for domains whose records point where they shouldn't, and listeners that tell what was dialled.
 * Prints one line of JSON.
 */
import { createServer as createHttpServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { listener, serveNames, setUp } from './sealed-machine.ts'
import { CASES, GATEWAYS, type Outcome, PEER, PUBLIC } from './steering-table.ts'

/** Records that a gateway is asked for at a time. */
const AT_ONCE = 48

const ROOT = 'bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354'

/** Does the work for all, so many at a time. */
async function eachOf<T>(all: readonly T[], work: (one: T, i: number) => Promise<void>): Promise<void> {
  const rest = all.entries()
  const worker = async () => {
    for (const [i, one] of rest) await work(one, i)
  }
  await Promise.all(Array.from({ length: AT_ONCE }, worker))
}

async function main(): Promise<void> {
  const machine = await setUp()
  const { dns } = machine
  const outcomes: Outcome[] = []
  // a peer at a public address that sends whoever asks it elsewhere
  const target = { port: 0 }
  const redirecting = createHttpServer((request, answer) => {
    answer.writeHead(302, { location: `http://127.0.0.1:${target.port}${request.url}` }).end()
  })
  await new Promise<void>((resolve) => redirecting.listen(0, PUBLIC, resolve))
  try {
    for (const [number, { gateway: kind, env }] of GATEWAYS.entries()) {
      serveNames(dns)
      const gateway = await machine.gateway(env)
      const port = new URL(gateway.url).port
      await eachOf(CASES, async ({ address, link = `/ipfs/${ROOT}` }, i) => {
        const { port: own, dialled, server } = await listener()
        if (address.includes('REDIRECT')) target.port = own
        const at = address
          .replace('REDIRECT', String((redirecting.address() as AddressInfo).port))
          .replace('PORT', String(own))
        const domain = `c${number}x${i}.example`
        dns.setTxt(`_dnslink.${domain}`, [`dnslink=${link}`])
        dns.setTxt(domain, [`ipfsnode=${JSON.stringify([at])}`])
        if (address.startsWith('/dnsaddr/')) {
          const [, , name = '', wanted = ''] = at.split('/')
          const led = decodeURIComponent(wanted).replace('PORT', String(own))
          dns.setTxt(`_dnsaddr.${name}`, [`dnsaddr=${led}`])
        }
        const published = address.startsWith('/dnsaddr/') ? at.split('/').slice(0, 3).join('/') : at
        if (published !== at) dns.setTxt(domain, [`ipfsnode=${JSON.stringify([`${published}/p2p/${PEER}`])}`])
        const answer = await fetch(`http://127.0.0.1:${port}/v2/${domain}/app/manifests/1`)
        const text = await answer.text()
        outcomes.push({
          gateway: kind,
          number: i,
          address,
          status: answer.status,
          dialled: [...dialled],
          text
        })
        server.close()
      })
      await gateway.stop()
    }
    process.stdout.write(`${JSON.stringify(outcomes)}\n`)
  } finally {
    redirecting.close()
    await machine.stop()
  }
}

await main()
process.exit(0)
