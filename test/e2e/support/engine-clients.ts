/** The clients of the engines that the test bed runs, behind the same face as the others. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { type Client, cleanFolder } from './client.ts'
import type { Containerd } from './containerd.ts'
import type { DockerEngine } from './docker.ts'
import { layoutDiffIds } from './images.ts'
import { run } from './process.ts'

/** The `docker` client of an engine. */
export function docker(engine: DockerEngine): Client {
  const exec: Client['run'] = (args, options) => engine.docker(args, options)
  return {
    name: 'docker',
    needs: ['docker', 'dockerd', 'containerd', 'runc'],
    keepsDigest: false,
    async push(image, reference, options) {
      await exec(['load', '--quiet', '--input', await image.archive()], options)
      await exec(['tag', image.name, reference], options)
      await exec(['push', '--quiet', reference], options)
    },
    async pull(reference, options) {
      await forgetImages(engine)
      await exec(['pull', '--quiet', reference], options)
      const { stdout } = await exec(
        ['image', 'inspect', '--format', '{{json .RootFS.Layers}}', reference],
        options
      )
      return { diffIds: JSON.parse(stdout) as string[] }
    },
    run: exec
  }
}

/** Removes every image from an engine, so that the next pull fetches all layers. */
export async function forgetImages(engine: DockerEngine): Promise<void> {
  const ids = (await engine.docker(['images', '--all', '--quiet'])).stdout
    .split('\n')
    .filter((id) => id !== '')
  if (ids.length > 0) await engine.docker(['rmi', '--force', ...new Set(ids)], { allowFailure: true })
}

/**
 * The `ctr` client of a containerd, which pushes every platform and pulls the machine's own.
 *
 * @param reach what it is told with each transfer: how to speak to the registry, and as whom
 */
export function ctr(containerd: Containerd, reach = (): string[] => ['--plain-http']): Client {
  const exec: Client['run'] = (args, options) => containerd.ctr(args, options)
  return {
    name: 'ctr',
    needs: ['ctr', 'containerd'],
    keepsDigest: true,
    async push(image, reference, options) {
      const base = reference.slice(0, reference.lastIndexOf(':'))
      await exec(['images', 'import', '--all-platforms', '--base-name', base, await image.archive()], options)
      const imported = `${base}:${image.tag}`
      if (imported !== reference) await exec(['images', 'tag', '--force', imported, reference], options)
      await exec(['images', 'push', ...reach(), reference], options)
    },
    async pull(reference, options) {
      const known = (await exec(['images', 'ls', '--quiet'])).stdout.split('\n').filter((name) => name !== '')
      if (known.length > 0) await exec(['images', 'rm', '--sync', ...known])
      await exec(['images', 'pull', ...reach(), reference], options)
      const target = join(containerd.dir, 'exported.tar')
      await exec(['images', 'export', target, reference], options)
      const unpacked = await cleanFolder(containerd.dir)
      await mkdir(unpacked)
      await run('tar', ['-xf', target, '-C', unpacked])
      return { diffIds: await layoutDiffIds(unpacked) }
    },
    run: exec
  }
}
