/** A buildkitd of the test's own, driven with `buildctl`. Debian has none: `scripts/install-peers.sh buildkit` builds it. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Daemon, spawnDaemon, sweep } from './daemon.ts'
import { type RunOptions, type RunResult, run } from './process.ts'

/** A buildkitd that runs. */
export interface BuildKit {
  readonly daemon: Daemon
  /** Runs `buildctl` against it. */
  buildctl(args: string[], options?: RunOptions): Promise<RunResult>
  /** Stops it and what it ran, and unmounts its snapshots. */
  stop(): Promise<void>
}

/** Starts it below `dir`, whose path must be short, with runc and the configuration file `config`; resolves once it answers. */
export async function startBuildKit(options: { dir: string; config: string }): Promise<BuildKit> {
  const { dir, config } = options
  await mkdir(dir, { recursive: true })
  const address = `unix://${join(dir, 'b.sock')}`
  const buildctl = (args: string[], more: RunOptions = {}): Promise<RunResult> =>
    run('buildctl', ['--addr', address, ...args], more)
  const daemon = await spawnDaemon({
    name: 'buildkitd',
    command: 'buildkitd',
    args: [
      `--config=${config}`,
      `--addr=${address}`,
      `--root=${join(dir, 'root')}`,
      '--oci-worker=true',
      '--containerd-worker=false',
      '--oci-worker-net=host',
      '--oci-worker-snapshotter=native'
    ],
    dir,
    ready: async (signal) =>
      (await buildctl(['debug', 'workers'], { signal, allowFailure: true })).status === 0
  })
  return {
    daemon,
    buildctl,
    async stop() {
      await daemon.stop()
      await sweep(dir)
    }
  }
}
