/** Pebble, Let's Encrypt's ACME authority for tests, with a name server that leads every name to this machine. */
import { writeFile } from 'node:fs/promises'
import { request } from 'node:https'
import { join } from 'node:path'
import { makeCertificate } from './authority.ts'
import { freePort, spawnDaemon } from './daemon.ts'

/** What {@link startPebble} starts. */
export interface PebbleOptions {
  dir: string
  /** Where it looks for HTTP-01. */
  httpPort: number
  /** Where it looks for TLS-ALPN-01. */
  tlsPort: number
  /** How long its certificates hold, in seconds. */
  validity: number
}

/** An authority that runs. */
export interface Pebble {
  /** The URL of its directory. */
  readonly directory: string
  /** The file with the certificate that vouches for its own. */
  readonly ca: string
  /** The certificate, in PEM form, that vouches for those that it issues; a new one at each start. */
  root(): Promise<string>
  stop(): Promise<void>
}

/** Starts {@link Pebble}. */
export async function startPebble({ dir, httpPort, tlsPort, validity }: PebbleOptions): Promise<Pebble> {
  const { ca, key, cert } = await makeCertificate(dir)
  const [port, management, dns, dnsManagement] = [
    await freePort(),
    await freePort(),
    await freePort(),
    await freePort()
  ]
  const none = ['-http01', '', '-https01', '', '-tlsalpn01', '', '-defaultIPv6', '']
  const names = await spawnDaemon({
    name: 'pebble-challtestsrv',
    command: 'pebble-challtestsrv',
    args: ['-dns01', `127.0.0.1:${dns}`, '-management', `127.0.0.1:${dnsManagement}`, ...none],
    dir,
    ready: async (signal) => (await fetch(`http://127.0.0.1:${dnsManagement}/`, { signal })).status === 404
  })
  const config = join(dir, 'pebble.json')
  await writeFile(
    config,
    JSON.stringify({
      pebble: {
        listenAddress: `127.0.0.1:${port}`,
        managementListenAddress: `127.0.0.1:${management}`,
        certificate: cert,
        privateKey: key,
        httpPort,
        tlsPort,
        certificateValidityPeriod: validity
      }
    })
  )
  const get = (url: string, signal?: AbortSignal) =>
    new Promise<string>((resolve, reject) => {
      // only what this test has started is asked
      const asked = request(
        url,
        { rejectUnauthorized: false, agent: false, ...(signal && { signal }) },
        (answer) => {
          let text = ''
          answer.on('data', (chunk: Buffer) => {
            text += chunk.toString()
          })
          answer.on('end', () => resolve(text))
        }
      )
      asked.on('error', reject)
      asked.end()
    })
  const directory = `https://localhost:${port}/dir`
  const pebble = await spawnDaemon({
    name: 'pebble',
    command: 'pebble',
    args: ['-config', config, '-dnsserver', `127.0.0.1:${dns}`, '-strict'],
    dir,
    env: { PEBBLE_VA_NOSLEEP: '1' },
    ready: async (signal) => (await get(directory, signal)).includes('newOrder')
  })
  return {
    directory,
    ca,
    root: () => get(`https://localhost:${management}/roots/0`),
    async stop() {
      await pebble.stop()
      await names.stop()
    }
  }
}
