/** Debian's docker-registry: the reference implementation, and the baseline of the benchmarks. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Daemon, freePort, spawnDaemon } from './daemon.ts'
import { type Host, on } from './netns.ts'
import { run } from './process.ts'

/** What {@link startRegistry} starts. */
export interface RegistryOptions {
  /** The folder for its configuration and log. */
  dir: string
  /** The storage folder, `<dir>/storage` unless told: point it at any tree of Distribution's layout. */
  storage?: string
  port?: number
  /** Where it listens; 127.0.0.1 unless told. */
  address?: string
  /** Ask for this user and password (HTTP Basic). */
  user?: { name: string; password: string }
  /** Ask for tokens of this service, by the keys of docker-registry's `auth: token`. */
  tokens?: { realm: string; service: string; issuer: string; rootcertbundle: string }
  /** Be a pull-through cache of the registry with this URL. */
  proxy?: string
  /** The machine to run on; this one, on 127.0.0.1, unless told. */
  on?: Host
  signal?: AbortSignal
}

/** A registry that runs. */
export interface Registry {
  readonly port: number
  /** `127.0.0.1:<port>`, or its other address, as an image's name begins. */
  readonly host: string
  readonly url: string
  readonly storage: string
  readonly daemon: Daemon
  stop(): Promise<void>
}

/** Starts docker-registry over a storage folder, with deleting allowed. */
export async function startRegistry(options: RegistryOptions): Promise<Registry> {
  const { dir, signal } = options
  const storage = options.storage ?? join(dir, 'storage')
  const port = options.port ?? (await freePort())
  const host = `${options.on?.ip ?? options.address ?? '127.0.0.1'}:${port}`
  const prefix = options.on === undefined ? [] : on(options.on)
  await mkdir(dir, { recursive: true })
  await mkdir(storage, { recursive: true })
  const config: Record<string, unknown> = {
    version: 0.1,
    log: { level: 'info', accesslog: { disabled: false } },
    storage: {
      filesystem: { rootdirectory: storage },
      delete: { enabled: true },
      cache: { blobdescriptor: 'inmemory' }
    },
    http: { addr: host }
  }
  if (options.proxy !== undefined) config.proxy = { remoteurl: options.proxy }
  if (options.user !== undefined) {
    const path = join(dir, 'htpasswd')
    const { stdout } = await run('htpasswd', ['-Bin', options.user.name], {
      input: options.user.password,
      signal
    })
    await writeFile(path, stdout)
    config.auth = { htpasswd: { realm: 'registry', path } }
  }
  if (options.tokens !== undefined) config.auth = { token: options.tokens }
  // YAML contains JSON.
  await writeFile(join(dir, 'registry.yml'), JSON.stringify(config, undefined, 2))

  const url = `http://${host}`
  const [command, ...args] = [...prefix, 'docker-registry', 'serve', join(dir, 'registry.yml')]
  const daemon = await spawnDaemon({
    name: 'registry',
    command,
    args,
    dir,
    signal,
    ready: async (within) => {
      if (options.on === undefined)
        return [200, 401].includes((await fetch(`${url}/v2/`, { signal: within })).status)
      const [program, ...words] = [...prefix, 'curl', '-so', '/dev/null', '-w', '%{http_code}', `${url}/v2/`]
      return ['200', '401'].includes((await run(program, words, { signal: within })).stdout)
    }
  })
  return { port, host, url, storage, daemon, stop: () => daemon.stop() }
}
