/** The client of other registries, and registries of this process that it asks, for the suite that calls it. */
import assert from 'node:assert/strict'
import type { UpstreamSetting } from '../../src/config/upstreams.ts'
import { readConfig } from '../../src/config.ts'
import type { Digest } from '../../src/oci/digest.ts'
import { RegistryError } from '../../src/oci/errors.ts'
import { createUpstreams, type Upstream, UpstreamError } from '../../src/upstream/index.ts'
import { startUpstreamRegistry, type UpstreamRegistry } from './upstream-registry.ts'

/** What {@link useUpstreamClient} gives; what a test has started is stopped after it. */
export interface UpstreamClient {
  registry(options?: Parameters<typeof startUpstreamRegistry>[0]): Promise<UpstreamRegistry>
  /** The client of `up.example`, set as told; `env` holds proxies. */
  upstreamOf(
    setting: Partial<UpstreamSetting> & { urls: readonly string[] },
    more?: { auth?: string; timeoutMs?: number; allowDial?: 'any' | 'public'; env?: Record<string, string> }
  ): Upstream
}

/** Makes it; times are short. */
export function useUpstreamClient(): UpstreamClient {
  const stops: (() => unknown)[] = []

  afterEach(async () => {
    for (const stop of stops.splice(0).toReversed()) await stop()
  })

  return {
    async registry(options) {
      const started = await startUpstreamRegistry(options)
      stops.push(() => started.stop())
      return started
    },
    upstreamOf(setting, { env = {}, ...more } = {}) {
      const upstreams = createUpstreams({
        settings: new Map([['up.example', { off: false, ...setting }]]),
        auth: '',
        ttlMs: 1000,
        timeoutMs: 2000,
        allowDial: 'any',
        proxies: readConfig({ flags: {}, env }).proxies,
        ...more
      })
      stops.push(() => upstreams.stop())
      return upstreams.of('up.example') as Upstream
    }
  }
}

/** For `assert.rejects`: it is an {@link UpstreamError} of that kind. */
export const fault = (name: string) => (error: unknown) => {
  assert.ok(error instanceof UpstreamError, String(error))
  assert.equal(error.fault, name, error.message)
  return true
}

/** For `assert.rejects`: it is a {@link RegistryError} with that code. */
export const code = (name: string) => (error: unknown) => {
  assert.ok(error instanceof RegistryError, String(error))
  assert.equal(error.code, name, error.message)
  return true
}

/** The bytes of a blob of `a/b`. */
export async function readBlob(upstream: Upstream, digest: string, size?: number): Promise<Buffer> {
  const parts: Buffer[] = []
  const { signal } = new AbortController()
  for await (const part of upstream.blob('a/b', digest as Digest, size).read(0, signal))
    parts.push(Buffer.from(part))
  return Buffer.concat(parts)
}
