import { createSocket, type Socket } from 'node:dgram'
import { createServer, type Server as TcpServer, type Socket as TcpSocket } from 'node:net'
import {
  type Answer,
  AUTHORITATIVE_ANSWER,
  type DecodedPacket,
  decode,
  encode,
  type Packet,
  type SoaAnswer,
  TRUNCATED_RESPONSE
} from 'dns-packet'

/** The failures that a server can be told to answer with. */
export const RCODES = { FORMERR: 1, SERVFAIL: 2, NOTIMP: 4, REFUSED: 5 } as const

/** A query as it arrived. */
export interface DnsQuery {
  /** In lower case. */
  readonly name: string
  /** In the case it came in. */
  readonly rawName: string
  readonly type: string
  readonly transport: 'udp' | 'tcp'
  readonly id: number
  /** Where it came from. */
  readonly port: number
  readonly address: string
  readonly packet: DecodedPacket
}

/** What a handler can do instead of, or before, answering from the zone. */
export interface DnsReply {
  /** The answer that the zone would give; not sent yet. */
  readonly packet: Packet
  /** Sends a packet, or any bytes (over TCP with their length in front). */
  readonly send: (packet: Packet | Buffer) => void
  /** Sends bytes over TCP as they are, or closes the connection. */
  readonly raw: (bytes: Buffer | null) => void
}

/** How the server behaves for a name; `'*'` stands for all names. */
export interface DnsBehaviour {
  /** Milliseconds before the answer. */
  delayMs?: number
  /** No answer at all, over UDP, TCP or both. */
  drop?: boolean | 'udp' | 'tcp'
  /** Answers with this failure, and nothing else. */
  rcode?: keyof typeof RCODES
  /** Over UDP only says that the answer is too long. */
  truncate?: boolean
  /** Gives the question back in lower case, as some servers do. */
  foldCase?: boolean
  /** Does everything itself. */
  handler?: (query: DnsQuery, reply: DnsReply) => void
}

/** A small authoritative DNS server on loopback, with a zone that can be changed while it runs. */
export interface DnsServer {
  /** `127.0.0.1:port`, the same for UDP and TCP. */
  readonly address: string
  readonly port: number
  /** Every query since the start or the last `forget()`. */
  readonly queries: readonly DnsQuery[]
  forget(): void
  /**
   * Sets the TXT records of a name; none removes it. A record is a text, split into strings of 255 bytes
   * where it has to be, or a list of strings. `ttl` in seconds.
   */
  setTxt(name: string, records: readonly (string | readonly string[])[], ttl?: number): void
  /** Makes a name an alias; with `complete: false` answers don't follow it. */
  setCname(name: string, target: string, options?: { ttl?: number; complete?: boolean }): void
  /** Removes everything at a name. */
  remove(name: string): void
  /** How long absence may be kept (s): the minimum of the SOA. At first 1. */
  setNegativeTtl(seconds: number): void
  /** Changes the behaviour for a name or for `'*'`; `undefined` makes it normal again. */
  behave(name: string, behaviour: DnsBehaviour | undefined): void
  /** Closes both sockets and every connection. */
  stop(): Promise<void>
}

interface Node {
  txt?: { ttl: number; records: Buffer[][] }
  cname?: { ttl: number; target: string; complete: boolean }
}

/**
 * Starts a server on 127.0.0.1, UDP and TCP, on one free port or the given one.
 *
 * @example
 * ```ts
 * const dns = await startDnsServer()
 * dns.setTxt('_dnslink.example.com', ['dnslink=/ipfs/bafy…'], 60)
 * // … SEAWAY_DNS_SERVERS=dns.address …
 * await dns.stop()
 * ```
 */
export async function startDnsServer(options: { port?: number } = {}): Promise<DnsServer> {
  const zone = new Map<string, Node>()
  const behaviours = new Map<string, DnsBehaviour>()
  const queries: DnsQuery[] = []
  const timers = new Set<NodeJS.Timeout>()
  const connections = new Set<TcpSocket>()
  let negativeTtl = 1

  function serve(bytes: Buffer, from: Pick<DnsQuery, 'transport' | 'address' | 'port'>, out: Out): void {
    const packet = read(bytes)
    const question = packet?.questions?.[0]
    if (packet === undefined || question === undefined) return
    const name = key(question.name)
    const { type } = question
    const query: DnsQuery = { ...from, name, rawName: question.name, type, id: packet.id ?? 0, packet }
    queries.push(query)
    const how = behaviours.get(name) ?? behaviours.get('*') ?? {}
    if (how.drop === true || how.drop === from.transport) return
    const answer = respond(packet, how)
    const send = (reply: Packet | Buffer): void => {
      const whole = Buffer.isBuffer(reply) ? reply : encode(reply)
      const tooLong = from.transport === 'udp' && whole.length > udpSize(packet) && !Buffer.isBuffer(reply)
      out.send(tooLong ? encode(shortened(reply)) : whole)
    }
    const act = (): void => {
      if (how.handler) how.handler(query, { packet: answer, send, raw: out.raw })
      else send(how.truncate && from.transport === 'udp' ? shortened(answer) : answer)
    }
    if (how.delayMs === undefined) return act()
    const timer = setTimeout(() => {
      timers.delete(timer)
      act()
    }, how.delayMs)
    timers.add(timer)
  }

  function respond(query: DecodedPacket, how: DnsBehaviour): Packet {
    const question = query.questions?.[0] as { name: string; type: 'TXT' }
    const name = how.foldCase ? question.name.toLowerCase() : question.name
    const base = { type: 'response' as const, id: query.id ?? 0, questions: [{ ...question, name }] }
    if (how.rcode !== undefined) return { ...base, flags: RCODES[how.rcode] }
    const { answers, end } = lookUp(name, question.type)
    const exists = [...zone.keys()].some((known) => known === key(end) || known.endsWith(`.${key(end)}`))
    const authorities = answers.at(-1)?.type === 'TXT' || leadsOn(answers) ? [] : [soa(negativeTtl)]
    const rcode = exists || leadsOn(answers) ? 0 : 3
    return { ...base, flags: AUTHORITATIVE_ANSWER | rcode, answers, authorities }
  }

  // an alias that isn't followed here leaves the rest to the one who asks
  function leadsOn(answers: readonly Answer[]): boolean {
    const last = answers.at(-1)
    return last?.type === 'CNAME' && zone.get(key(last.name))?.cname?.complete === false
  }

  function lookUp(start: string, type: string): { answers: Answer[]; end: string } {
    const answers: Answer[] = []
    let end = start
    for (let hops = 0; hops < 64; hops += 1) {
      const node = zone.get(key(end))
      if (node?.cname !== undefined) {
        answers.push({ type: 'CNAME', name: end, ttl: node.cname.ttl, data: node.cname.target })
        end = node.cname.target
        if (!node.cname.complete || answers.some((record) => key(record.name) === key(end))) break
        continue
      }
      const { ttl, records = [] } = (type === 'TXT' && node?.txt) || {}
      for (const data of records) answers.push({ type: 'TXT', name: end, ttl: ttl ?? 0, data: [...data] })
      break
    }
    return { answers, end }
  }

  const { udp, tcp, port } = await listen(options.port ?? 0)
  udp.on('message', (bytes, { address, port: from }) => {
    const send = (reply: Buffer): void => udp.send(reply, from, address)
    serve(bytes, { transport: 'udp', address, port: from }, { send, raw: () => {} })
  })
  tcp.on('connection', (socket) => {
    connections.add(socket)
    socket.on('close', () => connections.delete(socket))
    socket.on('error', () => {}) // a client that goes away is none of the server's business
    let pending = Buffer.alloc(0)
    const from = { transport: 'tcp' as const, address: '127.0.0.1', port: socket.remotePort ?? 0 }
    const send = (reply: Buffer): void => {
      const length = Buffer.alloc(2)
      length.writeUInt16BE(reply.length)
      socket.write(Buffer.concat([length, reply]))
    }
    const raw = (bytes: Buffer | null): void => void (bytes === null ? socket.destroy() : socket.write(bytes))
    socket.on('data', (chunk) => {
      pending = Buffer.concat([pending, chunk])
      while (pending.length >= 2 && pending.length >= 2 + pending.readUInt16BE(0)) {
        const length = pending.readUInt16BE(0)
        serve(pending.subarray(2, 2 + length), from, { send, raw })
        pending = pending.subarray(2 + length)
      }
    })
  })

  return {
    address: `127.0.0.1:${port}`,
    port,
    queries,
    forget: () => void queries.splice(0),
    setTxt(name, records, ttl = 60) {
      const parts = records.map((record) =>
        typeof record === 'string' ? split(record) : record.map(bytesOf)
      )
      if (parts.length === 0) zone.delete(key(name))
      else zone.set(key(name), { txt: { ttl, records: parts } })
    },
    setCname(name, target, { ttl = 60, complete = true } = {}) {
      zone.set(key(name), { cname: { ttl, target, complete } })
    },
    remove: (name) => void zone.delete(key(name)),
    setNegativeTtl(seconds) {
      negativeTtl = seconds
    },
    behave(name, behaviour) {
      if (behaviour === undefined) behaviours.delete(key(name))
      else behaviours.set(key(name), behaviour)
    },
    async stop() {
      for (const timer of timers) clearTimeout(timer)
      for (const socket of connections) socket.destroy()
      await Promise.all([
        new Promise<void>((done) => udp.close(() => done())),
        new Promise<void>((done) => tcp.close(() => done()))
      ])
    }
  }
}

interface Out {
  readonly send: (reply: Buffer) => void
  readonly raw: (bytes: Buffer | null) => void
}

/** UDP and TCP on the same port: a free UDP port may be taken for TCP, so a few are tried. */
async function listen(wanted: number): Promise<{ udp: Socket; tcp: TcpServer; port: number }> {
  for (let attempt = 1; ; attempt += 1) {
    const udp = createSocket('udp4')
    const tcp = createServer()
    try {
      await new Promise<void>((done, fail) => udp.once('error', fail).bind(wanted, '127.0.0.1', done))
      const { port } = udp.address()
      await new Promise<void>((done, fail) => tcp.once('error', fail).listen(port, '127.0.0.1', done))
      return { udp, tcp, port }
    } catch (error) {
      udp.close()
      if (attempt === 10) throw error
      await new Promise((again) => setTimeout(again, 20))
    }
  }
}

function read(bytes: Buffer): DecodedPacket | undefined {
  try {
    return decode(bytes)
  } catch {
    return undefined // not a DNS packet; nothing to answer
  }
}

function udpSize(query: DecodedPacket): number {
  return query.additionals?.find((record) => record.type === 'OPT')?.udpPayloadSize ?? 512
}

function shortened(answer: Packet): Packet {
  return { ...answer, flags: (answer.flags ?? 0) | TRUNCATED_RESPONSE, answers: [], authorities: [] }
}

function soa(minimum: number): SoaAnswer {
  const data = {
    mname: 'ns.test',
    rname: 'root.test',
    serial: 1,
    refresh: 60,
    retry: 60,
    expire: 60,
    minimum
  }
  return { type: 'SOA', name: 'test', ttl: minimum, data }
}

function key(name: string): string {
  return name.toLowerCase().replace(/\.$/, '')
}

function bytesOf(text: string): Buffer {
  return Buffer.from(text)
}

function split(text: string): Buffer[] {
  const bytes = Buffer.from(text)
  const parts: Buffer[] = []
  for (let at = 0; at === 0 || at < bytes.length; at += 255) parts.push(bytes.subarray(at, at + 255))
  return parts
}
