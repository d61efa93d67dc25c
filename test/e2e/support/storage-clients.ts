/** podman and buildah, which keep images in a storage of their own. */
import { stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { type Client, type ClientOptions, home, tlsFlag } from './client.ts'
import { spawnDaemon } from './daemon.ts'
import { run } from './process.ts'

/**
 * What lets `podman run` work in a sandbox: a hybrid cgroup tree is one that crun refuses and runc takes,
 * and limits above our own can't be set without CAP_SYS_RESOURCE.
 */
const PODMAN_CONF = `[containers]
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "none"
`

/** podman's storage below a folder: the words that name it, with the `vfs` driver unless told, and its environment. */
async function podmanIn({ dir, storageDriver = 'vfs' }: ClientOptions & { storageDriver?: string }) {
  const env = { ...(await home(dir)), CONTAINERS_CONF: join(dir, 'containers.conf') }
  await writeFile(env.CONTAINERS_CONF, PODMAN_CONF)
  const own = [
    '--root',
    join(dir, 'root'),
    '--runroot',
    join(dir, 'run'),
    '--tmpdir',
    join(dir, 'tmp/podman')
  ]
  return { env, global: [...own, '--storage-driver', storageDriver] }
}

/** podman's API on a socket, over a storage of its own, and the client beside it. */
export async function servePodman(
  options: ClientOptions
): Promise<{ host: string; client: Client; stop(): Promise<void> }> {
  const { dir, signal } = options
  const { env, global } = await podmanIn(options)
  const socket = join(dir, 'podman.sock')
  const daemon = await spawnDaemon({
    name: 'podman',
    command: 'podman',
    args: [...global, 'system', 'service', '--time=0', `unix://${socket}`],
    dir,
    env,
    ...(signal && { signal }),
    ready: async () => (await stat(socket)).isSocket()
  })
  return { host: `unix://${socket}`, client: await podman(options), stop: () => daemon.stop() }
}

/** podman, with the `vfs` driver unless told, which works on every file system. */
export async function podman(options: ClientOptions & { storageDriver?: string }): Promise<Client> {
  const { signal } = options
  const { env, global } = await podmanIn(options)
  const exec: Client['run'] = (args, more) => run('podman', [...global, ...args], { signal, env, ...more })
  return {
    name: 'podman',
    needs: ['podman', 'runc'],
    keepsDigest: false,
    async push(image, reference, more) {
      const loaded = (await exec(['pull', '--quiet', `oci:${image.layout}`], more)).stdout.trim()
      await exec(['push', tlsFlag(options), loaded, `docker://${reference}`], more)
    },
    async pull(reference, more) {
      await exec(['rmi', '--all', '--force'], { allowFailure: true })
      await exec(['pull', tlsFlag(options), reference], more)
      const { stdout } = await exec(
        ['image', 'inspect', '--format', '{{json .RootFS.Layers}}', reference],
        more
      )
      return { diffIds: JSON.parse(stdout) as string[] }
    },
    run: exec
  }
}

/** buildah, with the `vfs` driver unless told. */
export async function buildah(options: ClientOptions & { storageDriver?: string }): Promise<Client> {
  const { dir, signal, storageDriver = 'vfs' } = options
  const env = await home(dir)
  const own = ['--root', join(dir, 'root'), '--runroot', join(dir, 'run'), '--storage-driver', storageDriver]
  const exec: Client['run'] = (args, more) => run('buildah', [...own, ...args], { signal, env, ...more })
  return {
    name: 'buildah',
    needs: ['buildah'],
    keepsDigest: false,
    async push(image, reference, more) {
      const loaded = (await exec(['pull', '--quiet', `oci:${image.layout}`], more)).stdout.trim()
      await exec(['push', tlsFlag(options), loaded, `docker://${reference}`], more)
    },
    async pull(reference, more) {
      await exec(['rmi', '--all', '--force'], { allowFailure: true })
      await exec(['pull', tlsFlag(options), reference], more)
      const { stdout } = await exec(['inspect', '--type', 'image', reference], more)
      return {
        diffIds: (JSON.parse(stdout) as { OCIv1: { rootfs: { diff_ids: string[] } } }).OCIv1.rootfs.diff_ids
      }
    },
    run: exec
  }
}
