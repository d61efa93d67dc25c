/** A containerd of the test's own, driven with `ctr`. */
import { randomUUID } from 'node:crypto'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Daemon, spawnDaemon, sweep } from './daemon.ts'
import { type RunOptions, type RunResult, run } from './process.ts'

/** A containerd that runs. */
export interface Containerd {
  readonly dir: string
  readonly socket: string
  readonly daemon: Daemon
  /** The folder that `ctr images pull --hosts-dir` reads: see {@link Containerd.setHosts}. */
  readonly hostsDir: string
  /** Runs `ctr` against this containerd, in its `default` namespace. */
  ctr(args: string[], options?: RunOptions): Promise<RunResult>
  /**
   * Writes the `hosts.toml` of one registry, `_default` for all that have none. `ctr images pull` uses
   * it with `--hosts-dir`, and each request to a mirror then carries `?ns=<registry>`.
   */
  setHosts(registry: string, toml: string): Promise<void>
  /** Runs a program in a container without a network; what it prints is the result. */
  runContainer(image: string, command: string[], options?: RunOptions): Promise<RunResult>
  /** Stops it and what it ran, and unmounts its snapshots. */
  stop(): Promise<void>
}

/** Starts Debian's containerd below `dir`, whose path must be short, and resolves once it answers. */
export async function startContainerd(options: { dir: string; signal?: AbortSignal }): Promise<Containerd> {
  const { dir, signal } = options
  const socket = join(dir, 'c.sock')
  const hostsDir = join(dir, 'certs.d')
  await mkdir(hostsDir, { recursive: true })
  const quoted = (path: string): string => JSON.stringify(join(dir, path))
  await writeFile(
    join(dir, 'config.toml'),
    `version = 2
root = ${quoted('root')}
state = ${quoted('state')}
# Kubernetes' interface wants network plugins and listens on TCP; nothing here asks it anything.
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = ${JSON.stringify(socket)}
[ttrpc]
  address = ${quoted('t.sock')}
[plugins."io.containerd.internal.v1.opt"]
  path = ${quoted('opt')}
`
  )
  const ctr = (args: string[], more: RunOptions = {}): Promise<RunResult> =>
    run('ctr', ['--address', socket, ...args], { signal, ...more })

  const daemon = await spawnDaemon({
    name: 'containerd',
    command: 'containerd',
    args: ['--config', join(dir, 'config.toml')],
    dir,
    signal,
    ready: async (within) => (await ctr(['version'], { signal: within, allowFailure: true })).status === 0
  })

  return {
    dir,
    socket,
    daemon,
    hostsDir,
    ctr,
    async setHosts(registry, toml) {
      await mkdir(join(hostsDir, registry), { recursive: true })
      await writeFile(join(hostsDir, registry, 'hosts.toml'), toml)
    },
    // runc and the cgroups know a container by this name alone, whichever containerd it belongs to.
    runContainer: (image, command, more = {}) =>
      ctr(['run', '--rm', image, `seaway-${randomUUID()}`, ...command], more),
    async stop() {
      await daemon.stop()
      await sweep(dir)
    }
  }
}
