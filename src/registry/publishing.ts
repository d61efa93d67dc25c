import type { CID } from 'multiformats/cid'
import {
  agrees,
  createPublisher,
  formatRecords,
  hasTtl,
  type Link,
  linkIn,
  lookEverywhere,
  PUBLISH_TTL,
  type Publisher,
  type PublisherSetting,
  pickProviders,
  type RecordChange,
  type RecordSet,
  recordsAt,
  type Sight,
  ZoneChanged
} from '../discovery/index.ts'
import type { Log } from '../log.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { looksLikeDomain } from '../oci/reference.ts'
import type { Records } from '../store/index.ts'
import type { TreeWriter } from '../tree/index.ts'
import type { Places } from './places.ts'
import { adviceOn, bestOf, peersAdvice, type Report, reportsOf, untilSeen } from './publishing-check.ts'
import { createPublishStates } from './publishing-state.ts'
import type {
  PublishByIpns,
  Publishing,
  PublishReport,
  PublishRequest,
  PublishSettings
} from './publishing-types.ts'

/** How often it is tried anew when somebody else changes the records at the same time. */
const MAX_RACES = 3

export function createPublishing(options: {
  trees: Pick<TreeWriter, 'root' | 'had'>
  places: Pick<Places, 'published'>
  records: Records
  settings: PublishSettings
  /** Multiaddrs of this gateway, before {@link Publishing.announce} says better. */
  addresses: () => readonly string[]
  ipns?: PublishByIpns
  log: Log
}): Publishing {
  const { trees, places, settings, ipns, log } = options
  const states = createPublishStates(options.records)
  const listeners: ((domain: string, root: CID) => void)[] = []
  const needs = {
    servers: settings.dnsServers,
    timeoutMs: settings.dnsTimeoutMs,
    execMs: settings.execTimeoutMs
  }
  const publishers = new Map<string, Publisher | undefined>()
  for (const [domain, setting] of settings.publishers) {
    try {
      publishers.set(domain, createPublisher(setting, needs))
    } catch (error) {
      throw new RegistryError('REQUEST_INVALID', `SEAWAY_PUBLISHERS for ${domain}: ${reason(error)}`, {
        cause: error
      })
    }
  }
  let announced: ((domain: string) => Promise<readonly string[]>) | undefined
  let listed = options.addresses

  async function addressesOf(domain: string): Promise<readonly string[]> {
    if (announced === undefined) return own()
    const addresses = await announced(domain)
    await states.setAddresses(addresses)
    return addresses
  }

  async function own(): Promise<readonly string[]> {
    const addresses = listed()
    return addresses.length > 0 || announced !== undefined ? addresses : states.addresses()
  }

  function wayOf({ domain, publisher }: PublishRequest): {
    setting: PublisherSetting | undefined
    by: Publisher | undefined
  } {
    const setting = settings.publishers.get(domain)
    const bare = publisher !== undefined && Object.keys(publisher.options).length === 0
    // `--dns rfc2136` alone means the way that the settings describe
    if (publisher === undefined || (bare && publisher.way === setting?.way))
      return { setting, by: publishers.get(domain) }
    return { setting: publisher, by: createPublisher(publisher, needs) }
  }

  const look = (names: readonly string[], signal: AbortSignal): Promise<readonly Sight[]> =>
    lookEverywhere(names, { servers: settings.dnsServers, timeoutMs: settings.dnsTimeoutMs, log, signal })

  /** The root that a link leads to; `undefined` when that can't be told. */
  async function rootOf(
    domain: string,
    link: Link,
    hints: readonly string[],
    signal: AbortSignal
  ): Promise<CID | undefined> {
    if (link.kind === 'ipfs' && link.path === '') return link.root
    if (link.kind === 'key' && link.path === '' && ipns !== undefined)
      return ipns.current(link.name, hints, signal)
    return (await places.published(domain, signal))?.root
  }

  /** Refuses where what is published holds what this tree has never had. */
  async function checkDescent(
    domain: string,
    root: CID,
    sets: readonly RecordSet[],
    hints: readonly string[],
    { force, signal }: { force: boolean; signal: AbortSignal }
  ): Promise<string | undefined> {
    const found = linkIn(domain, sets)
    if (found === undefined) return undefined
    const before = await rootOf(domain, found.link, hints, signal).catch((error: unknown) => {
      if (force || signal.aborted) return undefined
      throw new RegistryError(
        'DENIED',
        `${domain} publishes ${found.text}, and it can't be found out whether the tree here descends from that (${reason(error)}): try again, or publish over it with --force`,
        { cause: error }
      )
    })
    if (before === undefined) return undefined
    const own: boolean = before.equals(root) || (await trees.had(domain, before))
    if (own) await states.common(domain, before)
    else if (!force) {
      throw new RegistryError(
        'DENIED',
        `${domain} publishes ${before}, which the tree here (${root}) does not descend from, so publishing would take away what others published: run 'seaway sync ${domain}' first, or publish over it with --force`,
        { detail: { published: before.toString(), root: root.toString() } }
      )
    }
    return before.toString()
  }

  async function publish(
    request: PublishRequest,
    { signal, report }: { signal: AbortSignal; report: Report }
  ): Promise<PublishReport> {
    const { domain, force = false, dryRun = false } = request
    if (!looksLikeDomain(domain))
      throw new RegistryError(
        'NAME_INVALID',
        `${domain} is no domain that can have records: push to one, example.com/app`
      )
    const root = await trees.root(domain)
    if (root === undefined)
      throw new RegistryError(
        'NAME_UNKNOWN',
        `${domain} has no registry tree here: push an image to it first`
      )
    const { setting, by } = wayOf(request)
    const byIpns = request.ipns ?? setting?.options['ipns'] === 'yes'
    if (byIpns && ipns === undefined) throw new RegistryError('UNSUPPORTED', 'IPNS is not available here')
    const name = byIpns ? await ipns?.name(domain) : undefined
    const listedNow = await own()
    const addresses = await addressesOf(domain)
    const asked = request.ttl ?? setting?.options['ttl']
    const ttl = Number(asked ?? PUBLISH_TTL)
    const records = formatRecords({ domain, root, addresses, ttl, ipns: name })
    const [link, peers] = records
    const bare = (link?.name ?? '').replace('_dnslink.', '')
    // resolvers tell what is left of a TTL; only the zone itself can be held to one
    const held = asked === undefined || by?.read === undefined ? {} : { ttl: by.ttlOf?.(ttl) ?? ttl }
    const linking: RecordChange = { name: `_dnslink.${bare}`, prefix: 'dnslink=', record: link, ...held }
    const naming: RecordChange = { name: bare, prefix: 'ipfsnode=', record: peers, ...held }
    const changes = [linking, naming]
    let awaited = changes
    const names = changes.map((change) => change.name)
    const notes: string[] = []

    let before: string | undefined
    let outcome: PublishReport['outcome'] = 'printed'
    let sights: readonly Sight[] = []
    for (let race = 1; ; race++) {
      sights = by?.read === undefined ? await look(names, signal) : []
      const known = by?.read === undefined ? bestOf(sights) : await by.read(names, { signal })
      if (known === undefined && (by !== undefined || byIpns) && !force) {
        const why = sights.map(({ server, problem }) => `${server}: ${problem}`).join('; ')
        throw new RegistryError(
          'SOURCE_FAILED',
          `what ${domain} publishes now can't be found out (${why}): try again, or publish without knowing with --force`
        )
      }
      const sets = known ?? []
      before = await checkDescent(bare, root, sets, addresses, { force, signal })
      notes.push(...adviceOn(sets, changes, ttl))
      const right = agrees(bare, changes, sets) && changes.every((change) => hasTtl(change, sets))
      const signed = !byIpns || before === root.toString()
      if (dryRun) {
        outcome = right && signed ? 'unchanged' : 'printed'
        break
      }
      if (byIpns && ipns !== undefined) {
        // the record first: the link must lead somewhere as soon as it can be read
        notes.push(...(await ipns.publish(domain, root, addresses, { ttlMs: ttl * 1000, signal })).notes)
        if (!signed && right) outcome = 'published'
      }
      if (right) {
        if (signed) outcome = 'unchanged'
        break
      }
      if (by === undefined) {
        if (byIpns && agrees(bare, [linking], sets)) {
          // whoever follows the link finds the root; nobody here can do more
          outcome = 'published'
          awaited = [linking]
          notes.push(peersAdvice(naming))
        }
        break
      }
      try {
        await by.write(changes, {
          seen: sets,
          facts: { domain, root: root.toString(), previous: before },
          signal
        })
        outcome = 'published'
        break
      } catch (error) {
        if (!(error instanceof ZoneChanged) || race >= MAX_RACES) throw error
        log.info({ domain, cause: reason(error) }, 'the records were changed at the same time; looking again')
      }
    }

    const via = by?.what ?? (byIpns ? 'an IPNS record' : undefined)
    if (outcome !== 'printed') {
      await states.published(domain, root, via ?? 'hand', listedNow)
      for (const listener of listeners) listener(domain, root)
    }
    const servers =
      request.waitMs === undefined
        ? reportsOf(bare, awaited, await look(names, signal))
        : await untilSeen(bare, awaited, {
            look: () => look(names, signal),
            waitMs: request.waitMs,
            signal,
            report
          })
    return {
      domain,
      root: root.toString(),
      records,
      ...(name === undefined ? {} : { ipns: name }),
      ...(before === undefined ? {} : { before }),
      outcome,
      ...(via === undefined ? {} : { via }),
      servers,
      advice: [...new Set(notes)]
    }
  }

  return {
    publish,
    async published(domain, signal) {
      const names = [`_dnslink.${domain}`, domain]
      const by = publishers.get(domain)
      const sets =
        by?.read === undefined ? bestOf(await look(names, signal)) : await by.read(names, { signal })
      if (sets === undefined)
        throw new RegistryError(
          'SOURCE_FAILED',
          `what ${domain} publishes now can't be found out: no name server answers`
        )
      const { providers } = pickProviders(
        recordsAt(sets, domain).map(({ text }) => text),
        domain
      )
      const found = linkIn(domain, sets)
      const root = found && (await rootOf(domain, found.link, providers, signal))
      return root && { root, providers, byName: found.link.kind === 'key' }
    },
    common: (domain) => states.commonOf(domain),
    noteCommon: (domain, root) => states.common(domain, root),
    state: (domain) => states.get(domain),
    announce(addresses, current) {
      announced = addresses
      listed = current
    },
    addresses: own,
    onPublished: (listener) => void listeners.push(listener)
  }
}
