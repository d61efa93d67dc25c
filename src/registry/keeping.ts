import { createLastGood } from '../discovery/index.ts'
import { RegistryError } from '../oci/errors.ts'
import { collect } from './collect.ts'
import { createCacheKeeper } from './collect-cache.ts'
import { createHistory } from './history.ts'
import { createQuota } from './quota.ts'
import type { Reading } from './reading.ts'
import type { RegistryOptions } from './registry-options.ts'
import { createRetention } from './retention.ts'
import type { Seeding } from './seeding.ts'
import type { Registry } from './types.ts'
import { createUploads } from './uploads.ts'

/** Puts together what decides how long something stays, and how much there may be. */
export function createKeeping(options: RegistryOptions, parts: { reading: Reading; seeding: Seeding }) {
  const { store, settings, log } = options
  const { seeding, reading } = parts
  const { links, pulled, tagTimes, trees, treeUses } = reading
  const { upstreams } = options
  const upstreamed = upstreams && {
    pulledThrough: (domain: string) => upstreams.of(domain) !== undefined
  }
  const quota = createQuota({
    store,
    trees,
    links,
    ...upstreamed,
    limits: settings.limits ?? { store: undefined, domains: new Map() },
    makeRoom: (bytes, signal) => cache.makeRoom(bytes, signal),
    log
  })
  const uploads = createUploads({ store, links, quota, log })
  const history = createHistory({ store, trees, keep: settings.collect.keepRoots, log })
  const lastGood = createLastGood(store.records, log)
  const collecting = {
    store,
    trees,
    treeUses,
    links,
    uploads,
    history,
    pulled,
    lastPublished: async (domain: string) => (await lastGood.get(domain))?.root,
    cacheLimit: settings.collect.cacheLimit,
    ...upstreamed,
    log
  }
  const retention = createRetention({ tagTimes, rules: settings.collect.retention })
  const runCollection: Registry['collect'] = async (request) => {
    const { dryRun, graceMs = settings.collect.graceMs, signal, progress = () => undefined } = request
    if (request.retention === true && settings.collect.retention.length === 0) {
      throw new RegistryError(
        'REQUEST_INVALID',
        'there are no retention rules: set SEAWAY_RETENTION, where the gateway runs'
      )
    }
    const rules = request.retention === true ? retention : undefined
    const work = () => collect(collecting, { dryRun, graceMs, retention: rules, signal, progress })
    return dryRun ? work() : seeding.collecting(work)
  }
  const cache = createCacheKeeper(collecting, { graceMs: settings.collect.graceMs })
  return { cache, collecting, history, lastGood, quota, runCollection, uploads }
}
