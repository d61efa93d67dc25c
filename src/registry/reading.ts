import { createTransfers } from '../ipfs/transfer.ts'
import type { RepositoryName } from '../oci/reference.ts'
import { createUses } from '../store/index.ts'
import { createDirectories, createTreeWriter } from '../tree/index.ts'
import { createPulledRoots } from './collect-pulled.ts'
import { createHolders } from './holders.ts'
import { createLinks } from './links.ts'
import { type Meters, NOBODY, ownerOf } from './meters.ts'
import { createNear } from './near.ts'
import { createPlaces } from './places.ts'
import { createPull } from './pull.ts'
import { orElsewhere } from './pull-elsewhere.ts'
import type { RegistryOptions } from './registry-options.ts'
import { SEARCH_MS } from './settings.ts'
import { createTagTimes } from './tag-times.ts'
import { createThrough } from './through.ts'
import { createThroughKeeper } from './through-keep.ts'

/** Where a name is looked for that has no upstream. */
const BOTH = { local: true, published: true, elsewhere: false }

/** Puts together what reading needs: trees, where they are looked for, transfers, and other registries. */
export function createReading(options: RegistryOptions & { readonly meters: Meters }) {
  const { store, ipfs, discovery, settings, meters, log } = options
  const directories = createDirectories()
  const holders = createHolders({
    blocks: store.blocks,
    ipfs,
    records: store.records,
    searchMs: settings.searchMs ?? SEARCH_MS,
    log
  })
  const pulled = createPulledRoots(store.records, log)
  const places = createPlaces({
    onRemote: (root) => pulled.note(root),
    looks(domain) {
      const upstream = options.upstreams?.of(domain)
      return upstream === undefined ? BOTH : { ...upstream.policy, elsewhere: true }
    },
    holders,
    discovery,
    directories,
    writer: () => trees,
    peers: settings.peers,
    log
  })
  const trees = createTreeWriter({
    blocks: store.blocks,
    records: store.records,
    directories,
    load: places.loader,
    deadlineMs: settings.treeDeadlineMs
  })
  const tagTimes = createTagTimes({ records: store.records, trees, log })
  const links = createLinks(store.records)
  const transfers = createTransfers({ ipfs, store, log, lingerMs: settings.transferLingerMs })
  const received = (name: RepositoryName | undefined, bytes: number) =>
    meters.add(name === undefined ? NOBODY : ownerOf(name), { fromPeers: bytes })
  const treeUses = createUses()
  const through =
    options.upstreams &&
    createThrough({
      upstreams: options.upstreams,
      keeper: createThroughKeeper({ store, trees, treeUses, places, tagTimes }),
      near: createNear({
        ipfs,
        store,
        addresses: settings.peers,
        received: (bytes) => received(undefined, bytes),
        log
      }),
      records: store.records,
      log
    })
  const pullAsNamed = createPull({
    store,
    ipfs,
    transfers,
    places,
    links,
    ...(through && { through }),
    log,
    received
  })
  const pull = options.upstreams === undefined ? pullAsNamed : orElsewhere(pullAsNamed, options.upstreams)
  return { directories, holders, links, places, pull, pulled, tagTimes, through, transfers, trees, treeUses }
}

/** What reading is put together from. */
export type Reading = ReturnType<typeof createReading>
