/** A real resolver: unbound, which asks a test's name servers for their zones, and caches. */

import { Resolver } from 'node:dns/promises'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Certificate } from './authority.ts'
import { type Daemon, freePort, spawnDaemon } from './daemon.ts'

/** A resolver that runs. */
export interface Unbound {
  readonly port: number
  /** `127.0.0.1:<port>`, as `SEAWAY_DNS_SERVERS` takes it. */
  readonly server: string
  /** Its URL for DNS over HTTPS, where it was given a certificate. */
  readonly https: string
  readonly daemon: Daemon
  stop(): Promise<void>
}

/**
 * Starts unbound on 127.0.0.1; it knows the zones given, each at the port of its name server, and nothing else.
 * It validates those that `anchors` names, by their DNSKEY records, and takes the others as they are.
 */
export async function startUnbound(options: {
  dir: string
  zones: Record<string, number>
  anchors?: Record<string, readonly string[]>
  /** Answer over HTTPS as well. */
  certificate?: Certificate
  signal?: AbortSignal
}): Promise<Unbound> {
  const { dir, zones, anchors = {}, certificate, signal } = options
  await mkdir(dir, { recursive: true })
  const [port, secure] = [await freePort(), await freePort()]
  const https =
    certificate &&
    `  interface: 127.0.0.1@${secure}
  https-port: ${secure}
  http-endpoint: "/dns-query"
  tls-service-key: "${certificate.key}"
  tls-service-pem: "${certificate.cert}"`
  const stubs = Object.entries(zones).map(
    ([zone, at]) => `stub-zone:\n  name: "${zone}"\n  stub-addr: 127.0.0.1@${at}\n`
  )
  const file = join(dir, 'unbound.conf')
  await writeFile(
    file,
    `server:
  interface: 127.0.0.1
  port: ${port}
${https ?? ''}
  do-daemonize: no
  chroot: ""
  username: ""
  directory: "${dir}"
  pidfile: "${join(dir, 'unbound.pid')}"
  use-syslog: no
  verbosity: 1
  num-threads: 1
  do-not-query-localhost: no
  module-config: "validator iterator"
  ede: yes
${Object.values(anchors)
  .flat()
  .map((key) => `  trust-anchor: "${key}"`)
  .join('\n')}
  access-control: 127.0.0.0/8 allow
  # nothing outside of the stubs is known, and nobody is asked about it
  local-zone: "." refuse
${Object.keys(zones)
  .map(
    (zone) => `  local-zone: "${zone}." transparent\n${anchors[zone] ? '' : `  domain-insecure: "${zone}"`}`
  )
  .join('\n')}
remote-control:
  control-enable: no
${stubs.join('')}`
  )
  const resolver = new Resolver({ timeout: 1000, tries: 1 })
  resolver.setServers([`127.0.0.1:${port}`])
  const daemon = await spawnDaemon({
    name: 'unbound',
    command: 'unbound',
    args: ['-d', '-c', file],
    dir,
    signal,
    ready: async () => {
      // a zone that is meant to fail validation fails here too, but it is an answer
      for (const zone of Object.keys(zones))
        await resolver.resolveSoa(zone).catch((error: NodeJS.ErrnoException) => {
          if (anchors[zone] === undefined || error.code !== 'ESERVFAIL') throw error
        })
      return true
    }
  })
  return {
    port,
    server: `127.0.0.1:${port}`,
    https: `https://localhost:${secure}/dns-query`,
    daemon,
    stop: () => daemon.stop()
  }
}
