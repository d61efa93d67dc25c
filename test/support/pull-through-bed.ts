/** A gateway that pulls `up.example` and `docker.io` through from a registry of this process. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import type { UpstreamSetting } from '../../src/config/upstreams.ts'
import type { Digest } from '../../src/oci/digest.ts'
import { createUpstreams, type Upstreams } from '../../src/upstream/index.ts'
import { type Answer, digestOf, type OciClient, ociClient } from './oci-client.ts'
import { type RegistryServer, type RegistryServerOptions, startRegistryServer } from './registry-server.ts'
import { startUpstreamRegistry, type UpstreamRegistry } from './upstream-registry.ts'

/** What {@link startPullThrough} starts. */
export interface PullThroughBed {
  readonly there: UpstreamRegistry
  readonly server: RegistryServer
  readonly client: OciClient
  /** The gateway once more over the same folder, with upstreams made anew. */
  restart(options?: BedOptions): Promise<void>
  get(path: string, status?: number): Promise<Answer>
  /** Pulls an image as clients do, and checks what comes. */
  pull(name: string, reference: string): Promise<void>
  has(digest: string | undefined): Promise<boolean>
  /** Waits until what came is in the store; until it is in the domain's tree, too, where its repository is named. */
  settled(digest: string, repository?: string): Promise<void>
  stop(): Promise<void>
}

/** How it is set; a tag is fresh for an hour unless said otherwise. */
export interface BedOptions {
  readonly setting?: Partial<UpstreamSetting>
  readonly ttlMs?: number
  /** For an answer to begin, and for its silence. */
  readonly timeoutMs?: number
  /** Where bare names are looked for that aren't here. */
  readonly standard?: string
  readonly server?: Omit<RegistryServerOptions, 'upstreams'>
}

/** Starts it. */
export async function startPullThrough(options: BedOptions = {}): Promise<PullThroughBed> {
  const there = await startUpstreamRegistry()
  const make = ({
    setting = {},
    ttlMs = 3_600_000,
    timeoutMs = 1500,
    standard = ''
  }: BedOptions): Upstreams =>
    createUpstreams({
      settings: new Map([
        ['up.example', { off: false, urls: [there.url], aliases: ['up.example:5000'], ...setting }],
        ['docker.io', { off: false, urls: [there.url] }]
      ]),
      auth: '',
      standard,
      ttlMs,
      timeoutMs,
      allowDial: 'any'
    })
  let upstreams = make(options)
  const server = await startRegistryServer({ ...options.server, upstreams })
  const client = ociClient(server)
  const get = (path: string, status = 200) => client.expect(status, 'GET', `/v2/${path}`)
  const has = async (digest: string | undefined) =>
    (await server.store.blobs.stat(digest as Digest)) !== undefined
  return {
    there,
    server,
    client,
    get,
    has,
    async restart(again = options) {
      const before = upstreams
      upstreams = make(again)
      await server.restart({ ...again.server, upstreams })
      before.stop()
    },
    async pull(name, reference) {
      const answer = await get(`${name}/manifests/${reference}`)
      const { config, layers } = answer.json<{ config: { digest: string }; layers: { digest: string }[] }>()
      for (const { digest } of [config, ...layers]) {
        const { body } = await get(`${name}/blobs/${digest}`)
        assert.equal(digestOf(body), digest)
      }
    },
    async settled(digest, repository) {
      const inTree = async (name: string) => {
        const root = String(await server.registry.root(name.slice(0, name.indexOf('/'))))
        return (await client.call('HEAD', `/v2/ipfs/${root}/${name}/blobs/${digest}`)).status === 200
      }
      for (const end = Date.now() + 10_000; Date.now() < end; await sleep(10))
        if ((await has(digest)) && (repository === undefined || (await inTree(repository)))) return
      assert.fail(`${digest} did not come into the store`)
    },
    async stop() {
      await server.stop()
      upstreams.stop()
      await there.stop()
    }
  }
}
