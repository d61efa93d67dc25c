/**
 * What `steering.spec.ts` runs in a network of its own, whose name server it is and all of whose addresses are its own:
 * gateways that are asked for domains whose records point where they shouldn't, and listeners that tell what was dialled.
 * Prints one line of JSON.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { createServer as createHttpServer } from 'node:http'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Answer } from 'dns-packet'
import { type DnsServer, startDnsServer } from '../../support/dns-server.ts'
import { startGateway } from './gateway.ts'
import { run } from './process.ts'
import { ADDRESSES, CASES, GATEWAYS, NAMES, type Outcome, PEER, PUBLIC, REBINDS } from './steering-table.ts'

const ROOT = 'bafybeiczsscdsbs7ffqz55asqdf3smv6klcw3gofszvwlyarci47bgf354'

/** Takes connections to any address, notes which, and closes them. */
async function listener(): Promise<{ port: number; dialled: Set<string>; server: Server }> {
  const dialled = new Set<string>()
  const server = createServer((socket) => {
    dialled.add((socket.localAddress ?? '').replace(/^::ffff:/, ''))
    socket.on('error', () => undefined).destroy()
  })
  await new Promise<void>((resolve) => server.listen(0, '::', resolve))
  return { port: (server.address() as AddressInfo).port, dialled, server }
}

/** Answers A and AAAA of a name; the first `safe` answers of a name that changes are public ones. */
function serveNames(dns: DnsServer): void {
  const serve = (name: string, answers: (type: string) => readonly string[]) =>
    dns.behave(name, {
      handler(query, { packet, send }) {
        const found = answers(query.type).map(
          (data) => ({ type: query.type, name: query.rawName, ttl: 0, data }) as Answer
        )
        send({ ...packet, flags: 0x400, answers: found, authorities: [] })
      }
    })
  const family = (type: string, addresses: readonly string[]) =>
    addresses.filter((ip) => ip.includes(':') === (type === 'AAAA'))
  for (const [name, addresses] of Object.entries(NAMES)) serve(name, (type) => family(type, addresses))
  for (const { name, safe } of REBINDS) {
    let asked = 0
    serve(name, (type) => (type === 'A' ? [asked++ < safe ? PUBLIC : '127.0.0.1'] : []))
  }
}

async function main(): Promise<void> {
  for (const address of ADDRESSES)
    await run('ip', ['addr', 'add', address, 'dev', 'lo', ...(address.includes(':') ? ['nodad'] : [])])
  const dns = await startDnsServer({ port: 53 })
  const dir = await mkdtemp(join(tmpdir(), 'seaway-steering-'))
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
      const gateway = await startGateway({
        dir: join(dir, String(number)),
        dns: '127.0.0.1:53',
        env: {
          SEAWAY_LISTEN: '0.0.0.0:0',
          SEAWAY_ALLOW_ANONYMOUS_PUSH: 'yes',
          SEAWAY_DIAL_TIMEOUT: '2s',
          SEAWAY_BLOCK_TIMEOUT: '2s',
          SEAWAY_PULL_TIMEOUT: '6s',
          ...env
        }
      })
      const port = new URL(gateway.url).port
      await Promise.all(
        CASES.map(async ({ address, link = `/ipfs/${ROOT}` }, i) => {
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
          if (published !== at)
            dns.setTxt(domain, [`ipfsnode=${JSON.stringify([`${published}/p2p/${PEER}`])}`])
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
      )
      await gateway.stop()
    }
    process.stdout.write(`${JSON.stringify(outcomes)}\n`)
  } finally {
    redirecting.close()
    await dns.stop()
    await rm(dir, { recursive: true, force: true })
  }
}

await main()
process.exit(0)
