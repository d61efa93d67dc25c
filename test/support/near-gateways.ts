/** Gateways that pull the same registry through, and have its images from each other. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { UpstreamSetting } from '../../src/config/upstreams.ts'
import type { BlobInfo } from '../../src/store/index.ts'
import { createUpstreams, type Upstreams } from '../../src/upstream/index.ts'
import { stopNodes } from './ipfs-nodes.ts'
import { digestOf, ociClient } from './oci-client.ts'
import { type RegistryServer, type RegistryServerOptions, startRegistryServer } from './registry-server.ts'
import { type Login, startUpstreamRegistry, type UpstreamRegistry } from './upstream-registry.ts'

/** What a suite works with. The image is always `a/b` of the registry, `up.example/a/b` of the gateways. */
export interface NearGateways {
  /** Starts the registry; to be called first. */
  open(login?: Login): Promise<UpstreamRegistry>
  /** A gateway that serves peers, too. */
  gateway(options?: RegistryServerOptions, setting?: Partial<UpstreamSetting>): Promise<RegistryServer>
  /** One that asks `first` for what it hasn't got. */
  after(first: { addresses(): string[] }, setting?: Partial<UpstreamSetting>): Promise<RegistryServer>
  /** The blob in a gateway's store. */
  kept(server: RegistryServer, digest: string): Promise<BlobInfo | undefined>
  /** Pulls an image as clients do; every digest is right, and everything is kept. */
  pull(server: RegistryServer, reference?: string): Promise<void>
  /** What the upstream is asked for while something is done. */
  asked(work: () => Promise<void>): Promise<string[]>
}

/** Makes them for the suite that calls it; what a test has started is stopped after it. */
export function useNearGateways(): NearGateways {
  let there: UpstreamRegistry
  const servers: RegistryServer[] = []
  const opened: Upstreams[] = []

  afterEach(async () => {
    for (const server of servers.splice(0)) await server.stop()
    for (const upstreams of opened.splice(0)) upstreams.stop()
    await stopNodes()
    await there.stop()
  })

  async function open(login?: Login): Promise<UpstreamRegistry> {
    there = await startUpstreamRegistry(login === undefined ? {} : { login })
    return there
  }

  async function gateway(
    options: RegistryServerOptions = {},
    setting: Partial<UpstreamSetting> = {}
  ): Promise<RegistryServer> {
    const upstreams = createUpstreams({
      settings: new Map([['up.example', { off: false, urls: [there.url], ...setting }]]),
      auth: '',
      ttlMs: 3_600_000,
      timeoutMs: 1500,
      allowDial: 'any'
    })
    opened.push(upstreams)
    const server = await startRegistryServer({ upstreams, seed: 'all', ...options })
    servers.push(server)
    return server
  }

  const after = (first: { addresses(): string[] }, setting?: Partial<UpstreamSetting>) =>
    gateway({ peers: first.addresses() }, setting)

  const kept = (server: RegistryServer, digest: string) =>
    server.store.blobs.stat(digest as `sha256:${string}`)

  async function pull(server: RegistryServer, reference = '1'): Promise<void> {
    const client = ociClient(server)
    const answer = await client.expect(200, 'GET', `/v2/up.example/a/b/manifests/${reference}`)
    assert.equal(digestOf(answer.body), answer.headers['docker-content-digest'])
    const { config, layers, manifests } = answer.json<{
      config: { digest: string }
      layers: { digest: string }[]
      manifests?: { digest: string }[]
    }>()
    if (manifests !== undefined) {
      for (const { digest } of manifests) await pull(server, digest)
      return
    }
    for (const { digest } of [config, ...layers]) {
      const { body } = await client.expect(200, 'GET', `/v2/up.example/a/b/blobs/${digest}`)
      assert.equal(digestOf(body), digest)
      // a client has it a moment before it is durable
      for (const end = Date.now() + 10_000; (await kept(server, digest)) === undefined; await sleep(10))
        assert.ok(Date.now() < end, `${digest} is not kept`)
    }
  }

  async function asked(work: () => Promise<void>): Promise<string[]> {
    const before = there.asked.length
    await work()
    return there.asked.slice(before).map((line) => line.replace(/sha256:.*/, 'DIGEST'))
  }

  return { open, gateway, after, kept, pull, asked }
}
