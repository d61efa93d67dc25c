/**
 * `npm run bench:dns`: what it costs to get from a domain to its root, beside `dig` and Kubo's `ipfs resolve`.
 * named holds the zone, unbound resolves; each is asked by all three, alternately in one run, and medians are
 * shown. Kubo takes name servers other than the system's by HTTPS only, so it is compared over HTTPS.
 *
 * Seaway and `dig` ask for two names (`_dnslink.<domain>` and `<domain>`: the root, and who has it), Kubo for
 * both too, whichever has a link. `dig`'s time is its own clock's for its queries, one after the other, without
 * its start, and over HTTPS without its connections; Seaway's that of `resolve()` in this process; Kubo's that
 * of its daemon's API.
 *
 * What passes is counted in a second run through a relay, so that this costs no time in the first one. Over
 * HTTPS these are pieces of a connection as they are read, handshake included.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setDefaultCACertificates } from 'node:tls'
import { createDiscovery, type Discovery } from '../src/discovery/index.ts'
import { createLog } from '../src/log.ts'
import { makeCertificate } from '../test/e2e/support/authority.ts'
import { startBind } from '../test/e2e/support/bind.ts'
import { type DnsRelay, startDnsRelay } from '../test/e2e/support/dns-relay.ts'
import { startKubo } from '../test/e2e/support/kubo.ts'
import { available, run, tempDir } from '../test/e2e/support/process.ts'
import { startUnbound } from '../test/e2e/support/unbound.ts'

const ROUNDS = 11
const ROOT = 'bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi'
const PEER = '/ip4/192.0.2.1/tcp/4001/p2p/12D3KooWGatU9DxBhXy6DWJB1Me9WmZGfJ7TvpjJRzZ3oCUGtTkR'
const LONG = 2000

type Way = 'udp' | 'https'

/** One row: which names are asked for, whether unbound or the asker knows them, and by which way. */
interface Work {
  readonly name: string
  readonly way: Way
  readonly known: 'nobody' | 'resolver' | 'asker'
  /** Seaway and Kubo keep a connection; here it is made anew, as far as they can be told to. */
  readonly first?: boolean
  readonly long?: boolean
}

const WORKS: readonly Work[] = [
  { name: 'cold, UDP', way: 'udp', known: 'nobody' },
  { name: 'resolver knows it, UDP', way: 'udp', known: 'resolver' },
  { name: 'resolver knows it, 2 kB, UDP then TCP', way: 'udp', known: 'resolver', long: true },
  { name: 'cold, HTTPS', way: 'https', known: 'nobody' },
  { name: 'resolver knows it, HTTPS, first question', way: 'https', known: 'resolver', first: true },
  { name: 'resolver knows it, HTTPS', way: 'https', known: 'resolver' },
  { name: 'warm: asked for before', way: 'https', known: 'asker' }
]
const SIDES = ['seaway', 'dig', 'kubo'] as const
type Side = (typeof SIDES)[number]

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[values.length >> 1] ?? Number.NaN

async function timed(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}

const log = createLog('silent')
const calm = new AbortController().signal

/** Where to ask: unbound itself, or the relay in front of it. */
interface Place {
  readonly udp: number
  readonly https: number
}

function makeDiscovery(place: Place, way: Way): Discovery {
  const server = way === 'udp' ? `127.0.0.1:${place.udp}` : `https://localhost:${place.https}/dns-query`
  const records = { get: async () => undefined, put: async () => {} }
  return createDiscovery({ servers: [server], log, records, timeoutMs: 10_000 })
}

/** `dig`'s own times for both names, in milliseconds. */
async function dig(place: Place, way: Way, domain: string, ca: string): Promise<number> {
  const how = way === 'udp' ? [] : ['+https', `+tls-ca=${ca}`, '+tls-hostname=localhost']
  const port = way === 'udp' ? place.udp : place.https
  const names = [`_dnslink.${domain}`, 'TXT', ...how, domain, 'TXT', ...how]
  const { stdout } = await run('dig', ['-u', '-p', String(port), '@127.0.0.1', ...names])
  const times = [...stdout.matchAll(/Query time: (\d+) usec/g)].map((match) => Number(match[1]))
  if (times.length !== 2 || !stdout.includes(ROOT)) throw new Error(`dig did not get both: ${stdout}`)
  return times.reduce((sum, time) => sum + time, 0) / 1000
}

/** Kubo resolves as its command `ipfs resolve` has it do, without that command's start. */
async function ipfsResolve(api: string, domain: string): Promise<void> {
  const answer = await fetch(`${api}/api/v0/resolve?arg=/ipns/${domain}`, { method: 'POST' })
  const text = await answer.text()
  if (!text.includes(ROOT)) throw new Error(`Kubo did not resolve ${domain}: ${text}`)
}

/** The three who ask at one place. */
function sidesAt(place: Place, ca: string, api: string) {
  const kept = { udp: makeDiscovery(place, 'udp'), https: makeDiscovery(place, 'https') }
  const resolve = async (discovery: Discovery, domain: string): Promise<number> =>
    timed(() => discovery.resolve(domain, { signal: calm }))
  return {
    /** Milliseconds, or nothing where this side has no such work. */
    async ask(side: Side, { way, known, first }: Work, domain: string): Promise<number | undefined> {
      if (side === 'dig') return known === 'asker' ? undefined : dig(place, way, domain, ca)
      if (side === 'kubo') return way === 'udp' || first ? undefined : timed(() => ipfsResolve(api, domain))
      if (first !== true) return resolve(kept[way], domain)
      const fresh = makeDiscovery(place, way)
      try {
        return await resolve(fresh, domain)
      } finally {
        await fresh.stop()
      }
    },
    stop: () => Promise.all(Object.values(kept).map((discovery) => discovery.stop()))
  }
}

/** Names that nobody has asked for yet; the long ones have more to say. */
function createNames(zone: string) {
  let used = 0
  const count = WORKS.length * SIDES.length * (ROUNDS + 2)
  const label = (i: number, long: boolean): string => `${long ? 'long' : 'n'}${i}`
  const records = Array.from({ length: count }, (_, i) =>
    [false, true].flatMap((long) => [
      { name: `_dnslink.${label(i, long)}`, data: `dnslink=/ipfs/${ROOT}`, ttl: 3600 },
      { name: label(i, long), data: `ipfsnode=["${PEER}"]${long ? ' '.repeat(LONG) : ''}`, ttl: 3600 }
    ])
  ).flat()
  return { records, next: ({ long }: Work): string => `${label(used++, long === true)}.${zone}` }
}

function shown(side: Side, work: Work, relay: { udp: DnsRelay; https: DnsRelay }): string {
  const [udp, https] = [relay.udp.take(), relay.https.take()]
  if (work.known === 'asker' && side !== 'dig') return `${udp.packets + https.pieces}`
  if (work.way === 'https') return `${https.pieces} in ${https.connections} conn`
  return udp.connections === 0 ? `${udp.packets}` : `${udp.packets} + ${udp.pieces} TCP`
}

if (!available('named', 'tsig-keygen', 'dig', 'nsupdate', 'unbound', 'openssl', 'ipfs')) process.exit(1)
const temp = tempDir('bench-dns')
const running: { stop(): Promise<unknown> }[] = []
const keep = <T extends { stop(): Promise<unknown> }>(handle: T): T => {
  running.push(handle)
  return handle
}
try {
  const folder = (name: string): string => join(temp.path, name)
  const names = { time: createNames('time.example'), count: createNames('count.example') }
  const certificate = await makeCertificate(folder('certificate'))
  setDefaultCACertificates([await readFile(certificate.ca, 'utf8')])
  const zones = { 'time.example': names.time.records, 'count.example': names.count.records }
  const bind = keep(await startBind({ dir: folder('named'), zones }))
  const stubs = Object.fromEntries(Object.keys(zones).map((zone) => [zone, bind.port]))
  const unbound = keep(await startUnbound({ dir: folder('unbound'), zones: stubs, certificate }))
  const httpsPort = Number(new URL(unbound.https).port)
  const relay = {
    udp: keep(await startDnsRelay(unbound.port)),
    https: keep(await startDnsRelay(httpsPort))
  }
  keep(
    await startKubo({
      dir: folder('kubo'),
      env: { SSL_CERT_FILE: certificate.ca },
      settings: {
        'DNS.Resolvers': {
          'time.example.': unbound.https,
          'count.example.': `https://localhost:${relay.https.port}/dns-query`
        }
      }
    })
  )
  const [, , host, , port] = (await readFile(folder('kubo/repo/api'), 'utf8')).trim().split('/')
  const api = `http://${host}:${port}`
  const direct = { udp: unbound.port, https: httpsPort }
  const relayed = { udp: relay.udp.port, https: relay.https.port }
  const timing = keep(sidesAt(direct, certificate.ca, api))
  const counting = keep(sidesAt(relayed, certificate.ca, api))

  /** Asks once for a new name, after what `work` says had asked before. */
  const once = async (at: 'time' | 'count', side: Side, work: Work, before = async () => {}) => {
    const asker = at === 'time' ? timing : counting
    const domain = names[at].next(work)
    if (work.known !== 'nobody') await dig(direct, 'udp', domain, certificate.ca)
    if (work.known === 'asker') await asker.ask(side, work, domain)
    await before()
    return asker.ask(side, work, domain)
  }

  console.log(
    `${ROUNDS} rounds, alternating; medians in milliseconds, and what passes between asker and resolver.`
  )
  console.log(
    'UDP: packets. HTTPS: pieces of the connection. dig asks over HTTPS with a connection a question.\n'
  )
  console.log(
    `${''.padEnd(40)}${SIDES.map((side) => `${side.padStart(9)}${'passes'.padStart(16)}`).join('')}`
  )
  for (const work of WORKS) {
    const times = new Map<Side, number[]>(SIDES.map((side) => [side, []]))
    for (const side of SIDES) await once('time', side, work) // connections are there, code is warm
    for (let round = 0; round < ROUNDS; round++) {
      for (const side of SIDES) {
        const ms = await once('time', side, work)
        if (ms !== undefined) times.get(side)?.push(ms)
      }
    }
    const cells: string[] = []
    for (const side of SIDES) {
      const ms = median(times.get(side) ?? [])
      if (Number.isNaN(ms)) {
        cells.push('-'.padStart(9) + ''.padStart(16))
        continue
      }
      if (work.first !== true) await once('count', side, work)
      await once('count', side, work, async () => {
        relay.udp.take()
        relay.https.take()
      })
      cells.push(ms.toFixed(2).padStart(9) + shown(side, work, relay).padStart(16))
    }
    console.log(work.name.padEnd(40) + cells.join(''))
  }
} finally {
  for (const handle of running.toReversed()) await handle.stop()
  await temp.remove()
}
