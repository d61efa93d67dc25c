/**
 * The clients that people use, behind one face: push an image, pull it into a clean place, say what
 * arrived. Every one keeps its storage, configuration and credentials below a folder of the test's, and
 * talks plain HTTP to registries on 127.0.0.1, or TLS where it is given an authority. Here are those that work on OCI layouts.
 */
import { join } from 'node:path'
import { type Client, type ClientOptions, cleanFolder, home, tlsFlag, trusting } from './client.ts'
import { layoutDiffIds } from './images.ts'
import { run } from './process.ts'

export type { Client, ClientOptions, Pulled } from './client.ts'
export { ctr, docker, forgetImages } from './engine-clients.ts'
export { buildah, podman } from './storage-clients.ts'

const hostOf = (reference: string): string => reference.slice(0, reference.indexOf('/'))

/** skopeo, between OCI layouts and the registry. */
export async function skopeo({ dir, certs, signal }: ClientOptions): Promise<Client> {
  const env = await home(dir)
  const exec: Client['run'] = (args, options) => run('skopeo', args, { signal, env, ...options })
  const copyAll = ['copy', '--all', '--preserve-digests', tlsFlag({ certs }, 'dest-')]
  return {
    name: 'skopeo',
    needs: ['skopeo'],
    keepsDigest: true,
    async push(image, reference, options) {
      await exec([...copyAll, `oci:${image.layout}`, `docker://${reference}`], options)
    },
    async pull(reference, options) {
      const target = await cleanFolder(dir)
      await exec(
        ['copy', tlsFlag({ certs }, 'src-'), `docker://${reference}`, `oci:${target}:pulled`],
        options
      )
      return { diffIds: await layoutDiffIds(target) }
    },
    run: exec
  }
}

/** crane. */
export async function crane({ dir, certs, signal }: ClientOptions): Promise<Client> {
  const env = { ...(await home(dir)), ...trusting({ certs }) }
  const plain = certs === undefined ? ['--insecure'] : []
  const exec: Client['run'] = (args, options) =>
    run('crane', [...plain, ...args], { signal, env, ...options })
  return {
    name: 'crane',
    needs: ['crane'],
    keepsDigest: true,
    async push(image, reference, options) {
      await exec(['push', image.dir, reference], options)
    },
    async pull(reference, options) {
      const target = await cleanFolder(dir)
      await exec(['pull', '--format', 'oci', reference, target], options)
      return { diffIds: await layoutDiffIds(target) }
    },
    run: exec
  }
}

/** oras. */
export async function oras({ dir, certs, signal }: ClientOptions): Promise<Client> {
  const env = { ...(await home(dir)), ...trusting({ certs }) }
  const plain = (side: string): string[] => (certs === undefined ? [`--${side}-plain-http`] : [])
  const exec: Client['run'] = (args, options) => run('oras', args, { signal, env, ...options })
  return {
    name: 'oras',
    needs: ['oras'],
    keepsDigest: true,
    async push(image, reference, options) {
      await exec(['cp', '--no-tty', '--from-oci-layout', image.layout, ...plain('to'), reference], options)
    },
    async pull(reference, options) {
      const target = await cleanFolder(dir)
      await exec(
        ['cp', '--no-tty', ...plain('from'), reference, '--to-oci-layout', `${target}:pulled`],
        options
      )
      return { diffIds: await layoutDiffIds(target) }
    },
    run: exec
  }
}

/** regctl. Its `run` needs `--host reg=HOST,tls=disabled` for a registry on plain HTTP. */
export async function regctl({ dir, signal }: ClientOptions): Promise<Client> {
  const env = { ...(await home(dir)), REGCTL_CONFIG: join(dir, 'regctl.json') }
  const exec: Client['run'] = (args, options) => run('regctl', args, { signal, env, ...options })
  const plain = (reference: string): string[] => ['--host', `reg=${hostOf(reference)},tls=disabled`]
  return {
    name: 'regctl',
    needs: ['regctl'],
    keepsDigest: true,
    async push(image, reference, options) {
      await exec([...plain(reference), 'image', 'copy', `ocidir://${image.layout}`, reference], options)
    },
    async pull(reference, options) {
      const target = await cleanFolder(dir)
      await exec([...plain(reference), 'image', 'copy', reference, `ocidir://${target}:pulled`], options)
      return { diffIds: await layoutDiffIds(target) }
    },
    run: exec
  }
}
