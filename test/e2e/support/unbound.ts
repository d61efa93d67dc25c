/** A real resolver: unbound, which asks a test's name servers for their zones, validates nothing, and caches. */

import { Resolver } from 'node:dns/promises'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Daemon, freePort, spawnDaemon } from './daemon.ts'

/** A resolver that runs. */
export interface Unbound {
  readonly port: number
  /** `127.0.0.1:<port>`, as `SEAWAY_DNS_SERVERS` takes it. */
  readonly server: string
  readonly daemon: Daemon
  stop(): Promise<void>
}

/** Starts unbound on 127.0.0.1; it knows the zones given, each at the port of its name server, and nothing else. */
export async function startUnbound(options: {
  dir: string
  zones: Record<string, number>
  signal?: AbortSignal
}): Promise<Unbound> {
  const { dir, zones, signal } = options
  await mkdir(dir, { recursive: true })
  const port = await freePort()
  const stubs = Object.entries(zones).map(
    ([zone, at]) => `stub-zone:\n  name: "${zone}"\n  stub-addr: 127.0.0.1@${at}\n`
  )
  const file = join(dir, 'unbound.conf')
  await writeFile(
    file,
    `server:
  interface: 127.0.0.1
  port: ${port}
  do-daemonize: no
  chroot: ""
  username: ""
  directory: "${dir}"
  pidfile: "${join(dir, 'unbound.pid')}"
  use-syslog: no
  verbosity: 1
  num-threads: 1
  do-not-query-localhost: no
  module-config: "iterator"
  access-control: 127.0.0.0/8 allow
  # nothing outside of the stubs is known, and nobody is asked about it
  local-zone: "." refuse
${Object.keys(zones)
  .map((zone) => `  local-zone: "${zone}." transparent\n  domain-insecure: "${zone}"`)
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
      for (const zone of Object.keys(zones)) await resolver.resolveSoa(zone)
      return true
    }
  })
  return { port, server: `127.0.0.1:${port}`, daemon, stop: () => daemon.stop() }
}
