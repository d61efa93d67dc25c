/** What all clients of the test bed have in common: their face, and a home folder away from the user's. */
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import type { Image } from './images.ts'
import type { RunOptions, RunResult } from './process.ts'

/** What a client found after a pull. */
export interface Pulled {
  /** The digests of the layers' uncompressed tars, bottom first: the image's identity, however it was packed. */
  diffIds: string[]
}

/** One client. */
export interface Client {
  readonly name: string
  /** The programs that it needs. */
  readonly needs: string[]
  /** Whether a push stores the very manifest of the layout; the others pack the image anew. */
  readonly keepsDigest: boolean
  /** Pushes an image as `reference`, all its platforms where the client can. */
  push(image: Image, reference: string, options?: RunOptions): Promise<void>
  /** Forgets what it has, pulls `reference` and says what arrived. */
  pull(reference: string, options?: RunOptions): Promise<Pulled>
  /** Runs the program with this client's own storage and configuration, and any arguments. */
  run(args: string[], options?: RunOptions): Promise<RunResult>
}

/** Where a client keeps everything, and what ends it. */
export interface ClientOptions {
  dir: string
  /** A folder with the certificate of an authority, `ca.crt`: registries are spoken to over TLS then. */
  certs?: string
  signal?: AbortSignal
}

/** What programs of Go have to be told of an authority: its certificate in place of the system's. */
export function trusting({ certs }: Pick<ClientOptions, 'certs'>): Record<string, string> {
  return certs === undefined ? {} : { SSL_CERT_FILE: join(certs, 'ca.crt') }
}

/** How skopeo, podman and buildah are told to speak plain HTTP, or whom to trust: `''`, `src-` or `dest-` before it. */
export function tlsFlag({ certs }: Pick<ClientOptions, 'certs'>, prefix = ''): string {
  return certs === undefined ? `--${prefix}tls-verify=false` : `--${prefix}cert-dir=${certs}`
}

/**
 * A home folder of a client's own: no credentials of the user's, any signature accepted. A test puts
 * mirrors into its `.config/containers/registries.conf`.
 */
export async function home(dir: string): Promise<Record<string, string>> {
  const conf = join(dir, '.config/containers')
  await mkdir(conf, { recursive: true })
  await mkdir(join(dir, 'tmp'), { recursive: true })
  await writeFile(join(conf, 'policy.json'), '{"default":[{"type":"insecureAcceptAnything"}]}')
  await writeFile(join(conf, 'registries.conf'), '', { flag: 'a' })
  // podman and buildah refuse to start when the file that they are told to use is not there.
  await writeFile(join(dir, 'auth.json'), '{}')
  return {
    HOME: dir,
    XDG_CONFIG_HOME: join(dir, '.config'),
    XDG_RUNTIME_DIR: join(dir, 'tmp'),
    TMPDIR: join(dir, 'tmp'),
    DOCKER_CONFIG: join(dir, '.docker'),
    REGISTRY_AUTH_FILE: join(dir, 'auth.json')
  }
}

/** The path of a folder for a pull, which does not exist. */
export async function cleanFolder(dir: string): Promise<string> {
  const path = join(dir, 'pulled')
  await rm(path, { recursive: true, force: true })
  return path
}
