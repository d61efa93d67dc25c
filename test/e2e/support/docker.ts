/** A real Docker engine of the test's own, beside any number of others and away from the system's. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Daemon, spawnDaemon, sweep } from './daemon.ts'
import { type RunOptions, type RunResult, run } from './process.ts'

/** What {@link startDocker} starts. */
export interface DockerOptions {
  /** The folder for everything of this engine; its path must be short (see {@link startDocker}). */
  dir: string
  signal?: AbortSignal
  /** Mirrors of Docker Hub, as URLs. */
  mirrors?: string[]
  /** Registries beyond 127.0.0.0/8 that speak plain HTTP. */
  insecureRegistries?: string[]
  /** `overlay2`, `vfs`…; unless told, the first that the folder's file system can do. */
  storageDriver?: string
  /** Further keys of `daemon.json`. */
  config?: Record<string, unknown>
  env?: Record<string, string | undefined>
}

/** A Docker engine that runs. */
export interface DockerEngine {
  readonly dir: string
  /** Its socket, as `DOCKER_HOST` takes it. */
  readonly host: string
  /** What a client's environment needs in order to talk to this engine and read no configuration of the user's. */
  readonly env: Record<string, string>
  readonly daemon: Daemon
  /** Runs Debian's `docker` client against this engine. */
  docker(args: string[], options?: RunOptions): Promise<RunResult>
  /** Runs a program in a container without a network; what it prints is the result. */
  runContainer(image: string, command?: string[], options?: RunOptions): Promise<RunResult>
  /** Stops the engine, its containers and its containerd, and unmounts what they had mounted. */
  stop(): Promise<void>
}

/** The longest path that a Unix socket can have. */
const SOCKET_PATH = 107

/**
 * Starts Debian's dockerd, with a containerd of its own, and resolves once it answers.
 *
 * It makes no bridge and touches neither iptables nor `ip_forward`, which belong to the whole machine:
 * two engines would fight over them, and dockerd's FORWARD policy would cut the test's own network
 * namespaces off. So containers run with `--network none` or `host`.
 */
export async function startDocker(options: DockerOptions): Promise<DockerEngine> {
  const { dir, signal } = options
  const socket = join(dir, 'docker.sock')
  const deepest = join(dir, 'x/containerd/containerd-debug.sock')
  if (deepest.length > SOCKET_PATH)
    throw new Error(`${dir} is too long for the engine's sockets: use tempDir()`)
  await mkdir(join(dir, 'client'), { recursive: true })
  await writeFile(join(dir, 'client/config.json'), '{}')
  await writeFile(
    join(dir, 'daemon.json'),
    JSON.stringify({
      'registry-mirrors': options.mirrors ?? [],
      'insecure-registries': options.insecureRegistries ?? [],
      'max-concurrent-downloads': 3,
      'shutdown-timeout': 3,
      ...(options.storageDriver === undefined ? {} : { 'storage-driver': options.storageDriver }),
      ...options.config
    })
  )
  const env = { DOCKER_HOST: `unix://${socket}`, DOCKER_CONFIG: join(dir, 'client'), DOCKER_BUILDKIT: '0' }
  const docker = (args: string[], more: RunOptions = {}): Promise<RunResult> =>
    run('docker', args, { signal, ...more, env: { ...env, ...more.env } })

  const daemon = await spawnDaemon({
    name: 'dockerd',
    command: 'dockerd',
    args: [
      ['--config-file', join(dir, 'daemon.json')],
      ['--data-root', join(dir, 'd')],
      ['--exec-root', join(dir, 'x')],
      ['--pidfile', join(dir, 'docker.pid')],
      ['--host', `unix://${socket}`],
      ['--bridge=none', '--iptables=false', '--ip6tables=false', '--ip-forward=false', '--ip-masq=false']
    ].flat(),
    dir,
    env: options.env,
    signal,
    ready: async (within) => (await docker(['version'], { signal: within, allowFailure: true })).status === 0
  })

  return {
    dir,
    host: env.DOCKER_HOST,
    env,
    daemon,
    docker,
    runContainer: (image, command = [], more = {}) =>
      docker(['run', '--rm', '--network', 'none', image, ...command], more),
    async stop() {
      await daemon.stop()
      await sweep(dir)
    }
  }
}
