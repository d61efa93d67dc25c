/** What runs in a network of its own (`sealed-net.ts`): the machine's addresses, its name server, and who was connected to. */
import { mkdtemp, rm } from 'node:fs/promises'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Answer } from 'dns-packet'
import { type DnsServer, startDnsServer } from '../../support/dns-server.ts'
import { type SeawayGateway, startGateway } from './gateway.ts'
import { run } from './process.ts'
import { ADDRESSES, NAMES, PUBLIC, REBINDS } from './steering-table.ts'

/** Takes connections to any address, notes which, and closes them. */
export async function listener(): Promise<{ port: number; dialled: Set<string>; server: Server }> {
  const dialled = new Set<string>()
  const server = createServer((socket) => {
    dialled.add((socket.localAddress ?? '').replace(/^::ffff:/, ''))
    socket.on('error', () => undefined).destroy()
  })
  await new Promise<void>((resolve) => server.listen(0, '::', resolve))
  return { port: (server.address() as AddressInfo).port, dialled, server }
}

/** Answers A and AAAA of a name; the first `safe` answers of a name that changes are public ones. */
export function serveNames(dns: DnsServer): void {
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

/** The machine, set up. */
export interface Machine {
  readonly dns: DnsServer
  /** Starts a gateway that listens beyond loopback. */
  gateway(env: Readonly<Record<string, string>>): Promise<SeawayGateway>
  stop(): Promise<void>
}

/** Gives the machine its addresses and its name server. */
export async function setUp(): Promise<Machine> {
  for (const address of ADDRESSES)
    await run('ip', ['addr', 'add', address, 'dev', 'lo', ...(address.includes(':') ? ['nodad'] : [])])
  const dns = await startDnsServer({ port: 53 })
  const dir = await mkdtemp(join(tmpdir(), 'seaway-sealed-'))
  let number = 0
  return {
    dns,
    gateway: (env) =>
      startGateway({
        dir: join(dir, String(number++)),
        dns: '127.0.0.1:53',
        env: {
          SEAWAY_LISTEN: '0.0.0.0:0',
          SEAWAY_ALLOW_ANONYMOUS_PUSH: 'yes',
          SEAWAY_DIAL_TIMEOUT: '2s',
          SEAWAY_BLOCK_TIMEOUT: '2s',
          SEAWAY_PULL_TIMEOUT: '6s',
          ...env
        }
      }),
    async stop() {
      await dns.stop()
      await rm(dir, { recursive: true, force: true })
    }
  }
}
