/** A token service for docker-registry, as its `auth: token` demands: real tokens, signed with a certificate. */
import { randomUUID, sign, X509Certificate } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { makeCertificate } from './authority.ts'

/** What {@link startTokenService} starts. */
export interface TokenServiceOptions {
  /** The folder for its certificate. */
  dir: string
  /** Who may pull and push everything. Others may pull what stands below `public/`. */
  user: { name: string; password: string }
  /** Seconds that a token says it holds. */
  expiresIn?: number
}

/** A token service that listens. */
export interface TokenService {
  /** What docker-registry needs to be told: {@link RegistryOptions.tokens}. */
  readonly trust: { realm: string; service: string; issuer: string; rootcertbundle: string }
  /** For whom, and for which scopes, tokens were asked for. Nobody is ''. */
  readonly asked: readonly { user: string; scopes: readonly string[] }[]
  stop(): Promise<void>
}

/** Starts one on 127.0.0.1. @see https://distribution.github.io/distribution/spec/auth/jwt/ */
export async function startTokenService(options: TokenServiceOptions): Promise<TokenService> {
  const { user, expiresIn = 300 } = options
  const { ca, key, cert } = await makeCertificate(options.dir)
  const privateKey = await readFile(key)
  const chain = [new X509Certificate(await readFile(cert)).raw.toString('base64')]
  const [service, issuer] = ['the registry', 'test token service']
  const asked: { user: string; scopes: readonly string[] }[] = []

  function token(subject: string, access: readonly object[]): string {
    const now = Math.floor(Date.now() / 1000)
    const times = { iat: now, nbf: now - 10, exp: now + 300 }
    const claims = { iss: issuer, sub: subject, aud: service, jti: randomUUID(), access, ...times }
    const encode = (value: object) => Buffer.from(JSON.stringify(value)).toString('base64url')
    const text = `${encode({ typ: 'JWT', alg: 'ES256', x5c: chain })}.${encode(claims)}`
    const signature = sign('sha256', Buffer.from(text), { key: privateKey, dsaEncoding: 'ieee-p1363' })
    return `${text}.${signature.toString('base64url')}`
  }

  const server = createServer(({ url = '', headers }, response) => {
    const scopes = new URL(url, 'http://x').searchParams.getAll('scope').flatMap((scope) => scope.split(' '))
    const [, basic] = /^Basic (.+)$/.exec(headers.authorization ?? '') ?? []
    const login = Buffer.from(basic ?? '', 'base64').toString()
    const [name = ''] = login.split(':')
    asked.push({ user: name, scopes })
    // skopeo without credentials says that nobody has no password
    const known = login === `${user.name}:${user.password}`
    if (name !== '' && !known) return void response.writeHead(401).end('{}')
    const access = scopes.flatMap((scope) => {
      const [, repository = '', actions = ''] = /^repository:(.+):([^:]*)$/.exec(scope) ?? []
      const open = repository.startsWith('public/') ? ['pull'] : []
      return [{ type: 'repository', name: repository, actions: known ? actions.split(',') : open }]
    })
    response.setHeader('content-type', 'application/json')
    return void response.end(JSON.stringify({ token: token(name, access), expires_in: expiresIn }))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const realm = `http://127.0.0.1:${(server.address() as AddressInfo).port}/token`
  return {
    trust: { realm, service, issuer, rootcertbundle: ca },
    asked,
    async stop() {
      server.closeAllConnections()
      await new Promise<void>((resolve) => server.close(() => resolve()))
    }
  }
}
