/** The clients that people use, as those who log in: each with its own words for it, behind one face. */
import { join } from 'node:path'
import type { Client, ClientOptions } from './client.ts'
import { buildah, crane, ctr, docker, oras, podman, skopeo } from './clients.ts'
import { startContainerd } from './containerd.ts'
import { startDocker } from './docker.ts'
import { type Image, makeImage } from './images.ts'

/** Those who have a login. */
export const PASSWORDS = { alice: 'correct horse', bob: 'battery:staple' } as const
export type User = keyof typeof PASSWORDS

/** A client that logs in at registries. */
export interface LoginClient extends Client {
  /** Logs in at a registry; some keep what they are told, and hear of a wrong password when they use it. */
  login(host: string, user: User, password?: string): Promise<unknown>
  logout(host: string): Promise<unknown>
}

/** A kind of client of the matrix. */
export interface LoginClientKind {
  readonly name: string
  /** The programs that it needs. */
  readonly needs: readonly string[]
  /** Whether a login asks the registry; else a wrong password is found out by the next transfer. */
  readonly asks: boolean
  /** Whether it pulls without a login from a registry that asks for passwords instead of tokens. */
  readonly anonymousOverBasic: boolean
  /** Opens one in a folder of its own; what runs is kept for all of them by `keep`. */
  open(options: ClientOptions, keep: Keep): Promise<LoginClient>
}

type Keep = <T extends { stop(): Promise<void> }>(handle: T) => T

/** How a client logs in and out; the password comes on stdin. */
type Words = (more: ClientOptions) => Record<'login' | 'logout', (host: string, user: string) => string[]>

const CONTAINERS: Words = ({ certs }) => ({
  login: (host, user) => [
    'login',
    certs === undefined ? '--tls-verify=false' : `--cert-dir=${certs}`,
    '-u',
    user,
    '--password-stdin',
    host
  ],
  logout: (host) => ['logout', host]
})

const CRANE: Words = () => ({
  login: (host, user) => ['auth', 'login', host, '-u', user, '--password-stdin'],
  logout: (host) => ['auth', 'logout', host]
})

const ORAS: Words = ({ certs }) => ({
  login: (host, user) => [
    'login',
    ...(certs === undefined ? ['--plain-http'] : []),
    '-u',
    user,
    '--password-stdin',
    host
  ],
  logout: (host) => ['logout', host]
})

const DOCKER: Words = () => ({
  login: (host, user) => ['login', '-u', user, '--password-stdin', host],
  logout: (host) => ['logout', host]
})

function withWords(client: Client, words: Words, options: ClientOptions): LoginClient {
  const { login, logout } = words(options)
  return {
    ...client,
    login: (host, user, password = PASSWORDS[user]) => client.run(login(host, user), { input: password }),
    logout: (host) => client.run(logout(host, ''))
  }
}

const tool = (
  make: (options: ClientOptions) => Promise<Client>,
  needs: readonly string[],
  words: Words,
  more: Partial<LoginClientKind> = {}
): LoginClientKind => ({
  name: make.name,
  needs,
  asks: true,
  anonymousOverBasic: true,
  open: async (options) => withWords(await make(options), words, options),
  ...more
})

/** Makes something once, for whoever asks first. */
function once<T>(make: (dir: string, keep: Keep) => Promise<T>) {
  let made: Promise<T> | undefined
  return (dir: string, keep: Keep): Promise<T> => (made ??= make(dir, keep))
}

// engines take seconds to start: one each for all that is asked of them
const engine = once(async (dir, keep) => keep(await startDocker({ dir })))
const containerd = once(async (dir, keep) => keep(await startContainerd({ dir })))

/** All of them. */
export const LOGIN_CLIENTS: readonly LoginClientKind[] = [
  tool(skopeo, ['skopeo'], CONTAINERS),
  tool(podman, ['podman', 'runc'], CONTAINERS),
  tool(buildah, ['buildah'], CONTAINERS),
  tool(crane, ['crane'], CRANE, { asks: false }),
  tool(oras, ['oras'], ORAS),
  {
    name: 'docker',
    needs: ['docker', 'dockerd', 'containerd', 'runc'],
    asks: true,
    anonymousOverBasic: false,
    // it looks for authorities in /etc/docker/certs.d alone
    open: async (options, keep) => withWords(docker(await engine(options.dir, keep)), DOCKER, options)
  },
  {
    // it is told its user with each transfer
    name: 'containerd',
    needs: ['ctr', 'containerd', 'runc'],
    asks: false,
    anonymousOverBasic: true,
    async open({ dir, certs }, keep) {
      let shown: string[] = []
      const reach = certs === undefined ? ['--plain-http'] : ['--tlscacert', join(certs, 'ca.crt')]
      const client = ctr(await containerd(dir, keep), () => [...reach, ...shown])
      return {
        ...client,
        name: 'containerd',
        async login(_, user, password = PASSWORDS[user]) {
          shown = ['--user', `${user}:${password}`]
        },
        async logout() {
          shown = []
        }
      }
    }
  }
]

/** A small image to push. */
export const loginImage = (dir: string): Promise<Image> =>
  makeImage({ dir, name: 'base:1', layers: [{ size: 100_000, seed: 'auth' }] })
