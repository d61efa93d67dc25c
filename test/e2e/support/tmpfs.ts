/** A small file system of a test's own, which can be full, or read-only. Needs root. */
import { mkdir, stat } from 'node:fs/promises'
import { run } from './process.ts'

/** A mounted tmpfs. */
export interface Tmpfs {
  readonly path: string
  /** Changes it while it is in use: `size=64m`, `ro`, `rw`. */
  remount(options: string): Promise<void>
  /** Unmounts it, at once also when it is in use. */
  stop(): Promise<void>
}

/** Whether this process may mount. Where it may not, says so loudly; in CI it throws instead. */
export function mayMount(): boolean {
  if (process.getuid?.() === 0) return true
  if (process.env.CI) throw new Error('NOT ROOT: the tests of full disks mount small ones')
  console.error('\n!!! NOT ROOT: the tests of full disks are skipped\n')
  return false
}

/** Mounts a tmpfs of `size` (as `mount` writes it, `48m`) on `path`. */
export async function mountTmpfs(path: string, size: string): Promise<Tmpfs> {
  await mkdir(path, { recursive: true })
  await run('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'seaway-test', path])
  return {
    path,
    remount: async (options) => void (await run('mount', ['-o', `remount,${options}`, path])),
    stop: async () => void (await run('umount', ['-l', path], { allowFailure: true }))
  }
}

/** Makes a folder read-only for everybody, root included, until the returned function is called. */
export async function readOnly(path: string): Promise<() => Promise<void>> {
  await run('mount', ['--bind', path, path])
  await run('mount', ['-o', 'remount,bind,ro', path])
  return async () => void (await run('umount', ['-l', path]))
}

/** A small ext4 file system in a file, whose last part can be lost: reading that is EIO then. */
export interface Loop extends Pick<Tmpfs, 'path' | 'stop'> {
  /** Makes the second half of `file` (a path on it) unreadable; nothing on it may be open. */
  lose(file: string): Promise<void>
}

/** Makes and mounts a {@link Loop} of `size` (as `truncate` writes it) on `path`. */
export async function mountLoop(path: string, size: string): Promise<Loop> {
  const image = `${path}.img`
  await mkdir(path, { recursive: true })
  await run('truncate', ['-s', size, image])
  await run('mkfs.ext4', ['-q', '-b', '4096', '-O', '^has_journal', '-m', '0', image])
  const mount = () => run('mount', ['-o', 'loop', image, path])
  const unmount = () => run('umount', [path])
  /** The 4096-byte blocks of a file on the image, as [first, last]. */
  async function extents(file: string): Promise<[number, number][]> {
    const { stdout } = await run('filefrag', ['-b4096', '-e', file])
    return [...stdout.matchAll(/^ *\d+: +\d+\.\. +\d+: +(\d+)\.\. +(\d+):/gm)].map((m) => [
      Number(m[1]),
      Number(m[2])
    ])
  }
  await mount()
  return {
    path,
    async lose(file) {
      // Written anew behind everything else: what fills the space in front of it goes again.
      const { stdout } = await run('stat', ['-f', '-c', '%a', path])
      const { size: bytes } = await stat(file)
      const filler = `${path}/filler`
      await run('fallocate', ['-l', String((Number(stdout.trim()) - 64) * 4096 - bytes), filler])
      await run('cp', [file, `${file}.new`])
      await run('sync', ['-f', path])
      await run('rm', [filler])
      await run('mv', [`${file}.new`, file])
      await run('sync', ['-f', path])
      const others = await run('find', [path, '-type', 'f', '-size', '+0', '!', '-path', file])
      let end = 0
      for (const other of others.stdout.trim().split('\n'))
        for (const [, last] of await extents(other)) end = Math.max(end, last + 1)
      const own = await extents(file)
      const cut = own
        .flatMap(([first, last]) => (last > end ? [Math.max(end, Math.floor((first + last) / 2))] : []))
        .at(-1)
      if (cut === undefined) throw new Error(`${file} does not lie behind all others`)
      // It forgets what it has in memory, and only then loses its end: a smaller one would not be mounted.
      await unmount()
      await mount()
      await run('truncate', ['-s', String(cut * 4096), image])
    },
    stop: async () => void (await run('umount', ['-l', path], { allowFailure: true }))
  }
}
