/** What listens for clients and peers over HTTP, and on what terms. */
import type { Config } from './config.ts'
import { createAdmission } from './http/admission.ts'
import { type AppOptions, createApp } from './http/app.ts'
import { createRedirectApp } from './http/redirect.ts'
import { type Listening, listen, peerServer } from './http/server.ts'
import { createTrustlessApp } from './http/trustless.ts'
import { createSeats } from './ipfs/index.ts'
import { identityOf, inUse } from './listening.ts'
import type { Rooms } from './rooms.ts'
import { admissionTerms } from './terms.ts'
import type { Identity } from './tls/index.ts'

/** How long requests under way may go on after the gateway has been told to stop, in milliseconds. */
const SHUTDOWN_GRACE = 5000

/** The ports of a gateway. */
export interface Listeners {
  readonly listening: Listening
  /** For peers alone. */
  readonly seed: Listening | undefined
  /** Who the gateway is to its clients; nobody without TLS. */
  readonly identity: Identity | undefined
}

/**
 * Opens them, and has `stack` close them.
 *
 * @param stopping aborted at shutdown: requests that wait for others end then
 * @throws {RegistryError} UNAVAILABLE where something else listens already, or a certificate can't be used
 */
export async function openListeners(
  { config, log, ipfs, registry, limits }: Rooms,
  checks: Pick<AppOptions, 'auth' | 'signatures'>,
  stopping: AbortSignal,
  stack: AsyncDisposableStack
): Promise<Listeners> {
  const identity = await identityOf(config, log)
  const tls = identity && { identity, hstsMs: config.tlsHsts }
  const terms = {
    up: limits.up,
    seats: createSeats(config.maxPeerRequests),
    idleMs: config.idleTimeout,
    fetchMs: config.gatewayFetch ? config.pullTimeout : undefined
  }
  const admission = createAdmission({ ...admissionTerms(config), log })
  const { isProxy } = admission
  const forClients = {
    maxConnections: config.maxConnections,
    maxPerAddress: config.maxConnectionsPerAddress,
    isProxy
  }
  const app = createApp({
    registry,
    ...checks,
    admission,
    log,
    hosts: config.hosts,
    pullTimeoutMs: config.pullTimeout,
    terms,
    stopping
  })
  const listening = await listen(app, {
    ...config.listen,
    ...forClients,
    idleMs: config.idleTimeout,
    answerMs: config.pullTimeout,
    log,
    ...(tls && { tls })
  }).catch(inUse('SEAWAY_LISTEN', `${config.listen.host}:${config.listen.port}`))
  stack.defer(() => listening.stop(SHUTDOWN_GRACE))
  const { content } = registry
  const trustless = createTrustlessApp({ content, log, terms, clients: admission.clients, stopping })
  const waits = { idleMs: config.idleTimeout, answerMs: terms.fetchMs ?? 0, log }
  await ipfs.serveHttp(peerServer(trustless, waits))
  const seed =
    config.seedListen &&
    (await listen(trustless, {
      ...config.seedListen,
      ...waits,
      ...(config.seedTls && tls && { tls }),
      maxConnections: config.maxPeers,
      maxPerAddress: config.maxPeersPerAddress,
      isProxy
    }).catch(inUse('SEAWAY_SEED_LISTEN', `${config.seedListen.host}:${config.seedListen.port}`)))
  if (seed !== undefined) stack.defer(() => seed.stop(SHUTDOWN_GRACE))
  if (identity !== undefined) {
    const redirect = createRedirectApp({ identity, port: () => listening.port, log })
    const unsafe = await openPlain(config, redirect, { ...forClients, idleMs: config.idleTimeout, log })
    if (unsafe !== undefined) stack.defer(() => unsafe.stop(0))
    stack.defer(() => identity.stop())
    identity.start()
  }
  return { listening, seed, identity }
}

/** The port without TLS beside one with it, where there is to be one. */
async function openPlain(
  { tlsPlainListen: at }: Config,
  app: Parameters<typeof listen>[0],
  waits: Omit<Parameters<typeof listen>[1], 'host' | 'port'>
): Promise<Listening | undefined> {
  if (at === undefined) return undefined
  return listen(app, { ...at, ...waits }).catch(inUse('SEAWAY_TLS_PLAIN_LISTEN', `${at.host}:${at.port}`))
}
