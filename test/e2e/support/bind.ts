/** A real name server: BIND's named, authoritative for a test's zones. */
import { Resolver } from 'node:dns/promises'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Certificate } from './authority.ts'
import { type Daemon, freePort, spawnDaemon } from './daemon.ts'
import { run } from './process.ts'

/** One record of a zone. `name` is relative to the zone, `@` for the zone itself. */
export interface DnsRecord {
  name: string
  /** `TXT` unless told. */
  type?: string
  /** The record's data in zone-file form; for TXT the plain text, split into strings of 255 bytes as needed. */
  data: string
  /** Seconds; 1 unless told, so that a change is soon seen. */
  ttl?: number
}

/** What {@link startBind} starts. */
export interface BindOptions {
  dir: string
  /** Zones by name, with what they hold at first. */
  zones: Record<string, DnsRecord[]>
  port?: number
  /** Allow dynamic updates of all zones (RFC 2136) signed with a new TSIG key of this name. */
  updateKey?: string
  /** Of that key; `hmac-sha256` unless told. */
  updateAlgorithm?: 'hmac-sha256' | 'hmac-sha384' | 'hmac-sha512'
  /** Be a secondary of these zones instead, from the primary at this port of 127.0.0.1. */
  primary?: { port: number; zones: readonly string[] }
  /** Tell secondaries of changes at these ports of 127.0.0.1. */
  notify?: readonly number[]
  /** The largest UDP answer in bytes; 512 makes long TXT records come truncated. */
  maxUdpSize?: number
  /** Sign all zones. */
  signed?: boolean
  /** Answer over HTTPS as well. */
  certificate?: Certificate
  signal?: AbortSignal
}

/** A name server that runs. */
export interface Bind {
  readonly port: number
  /** `127.0.0.1:<port>`, as `SEAWAY_DNS_SERVERS` takes it. */
  readonly server: string
  /** Its URL for DNS over HTTPS, where it was given a certificate. */
  readonly https: string
  /** The key that updates are signed with, where `updateKey` was given; `secret` is base64. */
  readonly key: { name: string; algorithm: string; secret: string; file: string } | undefined
  readonly daemon: Daemon
  /** Starts it again after `stop()`, with what its zones held. */
  restart(): Promise<void>
  /** Replaces all of a zone's records, and resolves when the server answers with the new ones. */
  setRecords(zone: string, records: DnsRecord[]): Promise<void>
  /** {@link Bind.setRecords} for TXT: texts by name, several texts being several records. */
  setTxt(zone: string, texts: Record<string, string | string[]>): Promise<void>
  /** {@link Bind.setRecords} for lines of a zone file as they are, with full names: what Seaway prints. */
  setLines(zone: string, lines: readonly string[]): Promise<void>
  /** Asks the server with `dig +short`; one line a record. */
  dig(name: string, type?: string): Promise<string[]>
  stop(): Promise<void>
}

/** A text as TXT data: quoted strings of at most 255 bytes. */
function txtData(text: string): string {
  const bytes = Buffer.from(text)
  const strings: string[] = []
  for (let at = 0; at < bytes.length || at === 0; at += 255) {
    const escaped = bytes.toString('latin1', at, at + 255).replaceAll(/["\\]/g, String.raw`\$&`)
    strings.push(`"${escaped.replaceAll(/[^ -~]/g, (c) => `\\${String(c.charCodeAt(0)).padStart(3, '0')}`)}"`)
  }
  return strings.join(' ')
}

/** A record as a line of a zone file, and of `nsupdate`. */
function recordLine({ name, type = 'TXT', data, ttl = 1 }: DnsRecord, zone: string): string {
  const owner = name === '@' ? `${zone}.` : `${name}.${zone}.`
  return `${owner} ${ttl} IN ${type} ${type === 'TXT' ? txtData(data) : data}`
}

/** The zone file that named starts with. Each zone's own name server, `ns`, is the loopback. */
function zoneFile(zone: string, records: DnsRecord[]): string {
  const head = ['$TTL 1', '@ IN SOA ns hostmaster 1 60 60 600 1', '@ IN NS ns', 'ns IN A 127.0.0.1']
  return `${[...head, ...records.map((record) => recordLine(record, zone))].join('\n')}\n`
}

/** Makes a TSIG key in named's own syntax. */
async function makeKey(
  dir: string,
  name: string,
  algorithm = 'hmac-sha256'
): Promise<NonNullable<Bind['key']>> {
  const { stdout } = await run('tsig-keygen', ['-a', algorithm, name])
  const file = join(dir, `${name}.key`)
  await writeFile(file, stdout, { mode: 0o600 })
  return { name, algorithm, secret: /secret "([^"]+)"/.exec(stdout)?.[1] ?? '', file }
}

function tlsOf(certificate: Certificate | undefined): string {
  if (certificate === undefined) return ''
  const { key, cert } = certificate
  return `http local { endpoints { "/dns-query"; }; };\ntls own { key-file "${key}"; cert-file "${cert}"; };`
}

/** Starts named for the given zones on 127.0.0.1, UDP and TCP, and resolves once it answers for all of them. */
export async function startBind(options: BindOptions): Promise<Bind> {
  const { dir, signal } = options
  await mkdir(dir, { recursive: true })
  const port = options.port ?? (await freePort())
  const secure = await freePort()
  const control = await makeKey(dir, 'control')
  const key =
    options.updateKey === undefined
      ? undefined
      : await makeKey(dir, options.updateKey, options.updateAlgorithm)
  const zones = Object.keys(options.zones)
  const fileOf = (zone: string): string => join(dir, `${zone}.zone`)
  for (const zone of zones) {
    // What an earlier run over the same folder had changed is in the journal, and would come back.
    await rm(`${fileOf(zone)}.jnl`, { force: true })
    await writeFile(fileOf(zone), zoneFile(zone, options.zones[zone] ?? []))
  }
  const updaters = ['control', ...(key ? [key.name] : [])].map((name) => `key "${name}";`).join(' ')
  await writeFile(
    join(dir, 'named.conf'),
    `${[control, key].map((each) => (each ? `include "${each.file}";` : '')).join('\n')}
${tlsOf(options.certificate)}
options {
  directory "${dir}";
  pid-file "${dir}/named.pid";
  session-keyfile "${dir}/session.key";
  # The default is one file for the whole machine, which allows one named.
  lock-file none;
  listen-on port ${port} { 127.0.0.1; };
  listen-on-v6 { none; };
  ${options.certificate === undefined ? '' : `listen-on port ${secure} tls own http local { 127.0.0.1; };`}
  ${options.signed === true ? 'dnssec-policy default;' : ''}
  recursion no;
  dnssec-validation no;
  notify ${options.notify === undefined ? 'no' : 'explicit'};
  also-notify { ${(options.notify ?? []).map((at) => `127.0.0.1 port ${at};`).join(' ')} };
  allow-transfer { any; };
  empty-zones-enable no;
  max-udp-size ${options.maxUdpSize ?? 1232};
};
# No control channel: it would want one port more, and nothing here needs it.
controls { };
${zones.map((zone) => `zone "${zone}" { type primary; file "${fileOf(zone)}"; allow-update { ${updaters} }; };`).join('\n')}
${(options.primary?.zones ?? []).map((zone) => `zone "${zone}" { type secondary; primaries { 127.0.0.1 port ${options.primary?.port}; }; file "${fileOf(zone)}"; };`).join('\n')}
`
  )

  const resolver = new Resolver({ timeout: 1000, tries: 1 })
  resolver.setServers([`127.0.0.1:${port}`])
  const at = ['-p', String(port), '@127.0.0.1']

  const start = (): Promise<Daemon> =>
    spawnDaemon({
      name: 'named',
      command: 'named',
      args: ['-g', '-4', '-n', '1', '-c', join(dir, 'named.conf')],
      dir,
      signal,
      ready: async () => {
        for (const zone of [...zones, ...(options.primary?.zones ?? [])]) await resolver.resolveSoa(zone)
        return true
      }
    })
  let daemon = await start()

  // An update rather than a new file: it is one atomic step, while named may write the file by itself
  // just after an `rndc freeze` has answered, over what the test put there.
  const setLines: Bind['setLines'] = async (zone, added) => {
    const { stdout } = await run('dig', [...at, '+noall', '+answer', zone, 'AXFR'], { signal })
    const present = stdout.split('\n').map((line) => line.split(/\s+/))
    const own = new Set([`${zone}. SOA`, `${zone}. NS`, `ns.${zone}. A`])
    // what signing made is named's own business
    const made = / (DNSKEY|RRSIG|NSEC|CDS|CDNSKEY|TYPE65534)$/
    const sets = present.flatMap(([name, , , type]) => (name && type ? [`${name} ${type}`] : []))
    const lines = [
      `server 127.0.0.1 ${port}`,
      `zone ${zone}`,
      ...sets.filter((set) => !own.has(set) && !made.test(set)).map((set) => `update delete ${set}`),
      ...added.map((line) => `update add ${line}`),
      'send\n'
    ]
    await run('nsupdate', ['-v', '-k', control.file], { input: lines.join('\n'), signal })
  }
  const setRecords: Bind['setRecords'] = (zone, records) =>
    setLines(
      zone,
      records.map((record) => recordLine(record, zone))
    )

  return {
    port,
    server: `127.0.0.1:${port}`,
    https: `https://localhost:${secure}/dns-query`,
    key,
    get daemon() {
      return daemon
    },
    async restart() {
      await daemon.stop()
      daemon = await start()
    },
    setRecords,
    setLines,
    setTxt: (zone, texts) =>
      setRecords(
        zone,
        Object.entries(texts).flatMap(([name, text]) => [text].flat().map((data) => ({ name, data })))
      ),
    async dig(name, type = 'TXT') {
      const { stdout } = await run('dig', [...at, '+short', name, type], { signal })
      return stdout.split('\n').filter((line) => line !== '')
    },
    stop: () => daemon.stop()
  }
}
