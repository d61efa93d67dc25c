/** A registry server that asks for users, and the requests of its clients. */
import { readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { hashSync } from 'bcryptjs'
import { type AuthSettings, openAudit, openAuth } from '../../src/auth/index.ts'
import type { AuthOptions } from '../../src/http/app.ts'
import { createLog } from '../../src/log.ts'
import {
  type Answer,
  type Ask,
  digestOf,
  manifest,
  OCI_CONFIG,
  OCI_LAYER,
  OCI_MANIFEST,
  type OciClient,
  ociClient
} from './oci-client.ts'
import { type RegistryServer, type RegistryServerOptions, startRegistryServer } from './registry-server.ts'
import { tempFolder } from './temp.ts'

/** The header that shows name and password. */
export const basic = (user: string, password: string): string =>
  `Basic ${Buffer.from(`${user}:${password}`).toString('base64')}`

/** An htpasswd file of these users; at a low cost unless told, for tests hash many. */
export function htpasswd(
  users: Readonly<Record<string, string>>,
  hash = (password: string): string => hashSync(password, 4)
): string {
  return Object.entries(users)
    .map(([name, password]) => `${name}:${hash(password)}\n`)
    .join('')
}

/** A server that asks for users, with its files. */
export interface AuthServer {
  readonly server: RegistryServer
  readonly client: OciClient
  /** Where tokens and keys are. */
  readonly folder: string
  readonly usersFile: string
  readonly rulesFile: string
  /** What the audit log has, in order. */
  audited(): Record<string, unknown>[]
  /** Asks for a token. */
  token(scopes: readonly string[], authorization?: string): Promise<Answer>
  /** The header of a token for these scopes. */
  bearer(scopes: readonly string[], authorization?: string): Promise<string>
  /** A request that shows `authorization`. */
  as(authorization: string | undefined, method: string, path: string, ask?: Ask): Promise<Answer>
  stop(): Promise<void>
}

/** Starts {@link AuthServer}. Files are looked at anew with each request. */
export async function startAuthServer(
  options: {
    users?: Readonly<Record<string, string>>
    rules?: string
    settings?: Partial<AuthSettings>
    scheme?: 'bearer' | 'basic'
    server?: RegistryServerOptions
    hash?: (password: string) => string
  } = {}
): Promise<AuthServer> {
  const temp = tempFolder()
  const folder = join(temp.path, 'auth')
  const usersFile = join(temp.path, 'users')
  const rulesFile = join(temp.path, 'access.yaml')
  const auditFile = join(temp.path, 'audit.log')
  writeFileSync(usersFile, htpasswd(options.users ?? { alice: 'secret' }, options.hash))
  if (options.rules !== undefined) writeFileSync(rulesFile, options.rules)
  const auth = async (_: string, stack: AsyncDisposableStack): Promise<AuthOptions> => {
    const access = await openAuth(
      {
        folder,
        users: usersFile,
        rules: options.rules === undefined ? undefined : rulesFile,
        anonymousPull: false,
        service: 'test',
        tokenLifetimeMs: 60_000,
        refreshLifetimeMs: 3_600_000,
        keyRotationMs: 3_600_000,
        issuerTimeoutMs: 3000,
        lookEveryMs: 0,
        ...options.settings
      },
      createLog('silent')
    )
    stack.defer(() => access.stop())
    const audit = openAudit(auditFile, {
      trouble: (error) => {
        throw error
      }
    })
    stack.defer(() => audit.stop())
    return {
      access,
      audit,
      challenge: { scheme: options.scheme ?? 'bearer', service: 'test', url: undefined }
    }
  }
  const server = await startRegistryServer({ ...options.server, auth })
  const client = ociClient(server)
  const as: AuthServer['as'] = (authorization, method, path, ask = {}) =>
    client.call(method, path, {
      ...ask,
      headers: { ...ask.headers, ...(authorization !== undefined && { authorization }) }
    })
  const token: AuthServer['token'] = (scopes, authorization) => {
    const query = new URLSearchParams({ service: 'test' })
    for (const scope of scopes) query.append('scope', scope)
    return as(authorization, 'GET', `/auth/token?${query}`)
  }
  return {
    server,
    client,
    folder,
    usersFile,
    rulesFile,
    as,
    token,
    audited: () =>
      readFileSync(auditFile, 'utf8')
        .split('\n')
        .filter((line) => line !== '')
        .map((line) => JSON.parse(line) as Record<string, unknown>),
    async bearer(scopes, authorization) {
      return `Bearer ${(await token(scopes, authorization)).json<{ token: string }>().token}`
    },
    async stop() {
      await server.stop()
      await temp.remove()
    }
  }
}

/** Pushes a small image as somebody; returns its manifest's digest and its blobs'. */
export async function pushAs(
  { client, as }: AuthServer,
  authorization: string,
  name: string,
  tag: string
): Promise<{ digest: string; blob: string }> {
  // the plain client, with a header on everything
  const blobs = [`{"text":"${name} ${tag}"}`, `layer of ${name} ${tag}`]
  for (const body of blobs) {
    const path = `/v2/${name}/blobs/uploads/?digest=${digestOf(body)}`
    const { status } = await as(authorization, 'POST', path, { body })
    if (status !== 201) throw new Error(`POST ${path}: ${status}`)
  }
  const [config = '', layer = ''] = blobs
  const made = manifest({
    config: { mediaType: OCI_CONFIG, digest: digestOf(config), size: config.length },
    layers: [{ mediaType: OCI_LAYER, digest: digestOf(layer), size: layer.length }]
  })
  await client.expect(201, 'PUT', `/v2/${name}/manifests/${tag}`, {
    body: made.bytes,
    headers: { authorization, 'content-type': OCI_MANIFEST }
  })
  return { digest: made.digest, blob: digestOf(layer) }
}

/** What the token endpoint answers. */
export interface TokenAnswer {
  token: string
  access_token: string
  scope: string
  expires_in: number
  refresh_token?: string
}

/** The users of {@link startTeam} with their passwords, and its rules. */
export const USERS = { alice: 'secret', bob: 'builder', carol: 'pass' }
export const RULES = `
rules:
  - {who: alice, repositories: ["**", "ipfs/**"], can: admin}
  - {who: bob, repositories: [example.com/bob/**, registry.example.com/*], can: push}
  - {who: anonymous, repositories: example.com/public/*, can: pull}
`

/** Two of them, as they show themselves. */
export const alice: string = basic('alice', 'secret')
export const bob: string = basic('bob', 'builder')

/** A gateway of three users: alice may do everything, bob pushes in two places, and anybody pulls what is public. */
export function startTeam(): Promise<AuthServer> {
  return startAuthServer({ users: USERS, rules: RULES, server: { hosts: ['registry.example.com'] } })
}
