/** Making a root the published one: what is refused, what is changed, what is kept of it. */
import assert from 'node:assert/strict'
import { readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { mock } from 'node:test'
import { CID } from 'multiformats/cid'
import type { PublisherSetting } from '../../src/discovery/index.ts'
import { createLog } from '../../src/log.ts'
import { RegistryError } from '../../src/oci/errors.ts'
import { createPublishing } from '../../src/registry/publishing.ts'
import { type AutoOutcome, createAutoPublisher } from '../../src/registry/publishing-auto.ts'
import type { PublishByIpns, Publishing, PublishReport } from '../../src/registry/publishing-types.ts'
import { rawCid } from '../../src/store/index.ts'
import { type DnsServer, startDnsServer } from '../support/dns-server.ts'
import { memoryRecords } from '../support/ipfs-nodes.ts'
import { tempFolder } from '../support/temp.ts'

const DOMAIN = 'ships.example'
const ADDRESS = '/ip4/127.0.0.1/tcp/4001/p2p/12D3KooWQ7ijcbCSmYXyrsPmVGZbmHMvM7gMRRiiRURXjqYdxM3x'
const NAME = 'k51qzi5uqu5dlvj2baxnqndepeb86cbk3ng7n3i46uzyxzyqj2xjonzllnv0v8'
const log = createLog('silent')
const signal = new AbortController().signal

/** Roots that differ in their last byte. */
const rootOf = (n: number): CID => rawCid(new Uint8Array(32).fill(n))
const [OURS, BEFORE, FOREIGN] = [rootOf(1), rootOf(2), rootOf(3)]

describe('publishing a root', () => {
  const folder = tempFolder()
  let dns: DnsServer
  /** What the tree here has been. */
  let past: readonly CID[]
  let root: CID | undefined
  let records: ReturnType<typeof memoryRecords>
  let heard: string[]
  let publishing: Publishing

  before(async () => void (dns = await startDnsServer()))
  after(async () => {
    await dns.stop()
    await folder.remove()
  })
  beforeEach(async () => {
    await rm(join(folder.path, 'called'), { force: true })
    dns.behave('*', undefined)
    dns.remove(`_dnslink.${DOMAIN}`)
    dns.remove(DOMAIN)
    past = [BEFORE, OURS]
    root = OURS
    records = memoryRecords()
    heard = []
    publishing = make()
  })

  function make(
    options: { ipns?: PublishByIpns; publishers?: Map<string, PublisherSetting> } = {}
  ): Publishing {
    const made = createPublishing({
      trees: { root: async () => root, had: async (_, cid) => past.some((one) => one.equals(cid)) },
      places: {
        published: async () => {
          throw new RegistryError('SOURCE_FAILED', 'nobody has the record')
        }
      },
      records: records as never,
      settings: {
        publishers: options.publishers ?? new Map(),
        dnsServers: [dns.address],
        dnsTimeoutMs: 2000,
        execTimeoutMs: 10_000,
        afterMs: 10
      },
      addresses: () => [ADDRESS],
      ...(options.ipns && { ipns: options.ipns }),
      log
    })
    made.onPublished((domain, cid) => heard.push(`${domain} ${cid}`))
    return made
  }

  const publish = (request: Partial<Parameters<Publishing['publish']>[0]> = {}, by = publishing) =>
    by.publish({ domain: DOMAIN, ...request }, { signal, report: () => undefined })
  /** A program that writes down with what it was called. */
  const exec = (): PublisherSetting => ({
    way: 'exec',
    options: { command: 'echo "$PUBLISH_ROOT after $PUBLISH_PREVIOUS_ROOT" >> called', folder: folder.path }
  })
  const called = async (): Promise<string> =>
    readFile(join(folder.path, 'called'), 'utf8').catch(() => 'never')
  const inDns = (link: string): void => dns.setTxt(`_dnslink.${DOMAIN}`, [`dnslink=${link}`])
  const refusal = (code: string, message: RegExp) => (error: unknown) => {
    assert.ok(error instanceof RegistryError, String(error))
    assert.equal(error.code, code)
    assert.match(error.message, message)
    return true
  }

  it('needs a domain that can have records, with a tree', async () => {
    await assert.rejects(
      publish({ domain: 'local' }),
      refusal('NAME_INVALID', /push to one, example\.com\/app/)
    )
    root = undefined
    await assert.rejects(publish(), refusal('NAME_UNKNOWN', /push an image to it first/))
  })

  it('prints the records where nobody puts them into DNS, and keeps nothing', async () => {
    const report = await publish()
    assert.equal(report.outcome, 'printed')
    assert.deepEqual(
      report.records.map(({ name, value }) => [name, value]),
      [
        [`_dnslink.${DOMAIN}`, `dnslink=/ipfs/${OURS}`],
        [DOMAIN, `ipfsnode=${JSON.stringify([ADDRESS])}`]
      ]
    )
    assert.deepEqual(
      report.servers.map(({ server, agrees }) => [server, agrees]),
      [[dns.address, false]]
    )
    assert.deepEqual([heard, await publishing.state(DOMAIN)], [[], {}])
  })

  it('has nothing to do where DNS agrees', async () => {
    inDns(`/ipfs/${OURS}`)
    dns.setTxt(DOMAIN, [`ipfsnode=${JSON.stringify([ADDRESS])}`])
    const report = await publish({ publisher: exec() })
    assert.equal(report.outcome, 'unchanged')
    assert.equal(await called(), 'never')
    assert.deepEqual(heard, [`${DOMAIN} ${OURS}`], 'it is the published one all the same')
  })

  it('replaces a root that the tree here descends from, and knows it as common', async () => {
    inDns(`/ipfs/${BEFORE}`)
    assert.equal((await publish({ publisher: exec(), dryRun: true })).outcome, 'printed')
    assert.equal(await called(), 'never')
    assert.equal(String(await publishing.common(DOMAIN)), BEFORE.toString())
    const report = await publish({ publisher: exec() })
    assert.deepEqual([report.outcome, report.before], ['published', BEFORE.toString()])
    assert.equal(await called(), `${OURS} after ${BEFORE}\n`)
    assert.deepEqual(heard, [`${DOMAIN} ${OURS}`])
    const { published } = await publishing.state(DOMAIN)
    assert.deepEqual([published?.root, published?.addresses], [OURS.toString(), [ADDRESS]])
    assert.equal(String(await publishing.common(DOMAIN)), OURS.toString())
  })

  it('refuses to replace a root that it does not descend from, unless it is told to', async () => {
    inDns(`/ipfs/${FOREIGN}`)
    for (const request of [{}, { publisher: exec() }, { dryRun: true }])
      await assert.rejects(publish(request), (error: unknown) => {
        refusal(
          'DENIED',
          new RegExp(`publishes ${FOREIGN}, .* run 'seaway sync ships\\.example' first`)
        )(error)
        assert.deepEqual((error as RegistryError).detail, {
          published: FOREIGN.toString(),
          root: OURS.toString()
        })
        return true
      })
    assert.deepEqual([heard, await publishing.common(DOMAIN)], [[], undefined])
    const report = await publish({ publisher: exec(), force: true })
    assert.deepEqual([report.outcome, report.before], ['published', FOREIGN.toString()])
  })

  it('refuses to replace what it cannot look into, unless it is told to', async () => {
    inDns('/ipns/elsewhere.example')
    await assert.rejects(
      publish({ publisher: exec() }),
      refusal('DENIED', /can't be found out whether the tree here descends .*nobody has the record/)
    )
    assert.equal((await publish({ publisher: exec(), force: true })).outcome, 'published')
  })

  it('refuses to write into DNS that cannot be read, but prints', async () => {
    dns.behave('*', { rcode: 'SERVFAIL' })
    await assert.rejects(
      publish({ publisher: exec() }),
      refusal('SOURCE_FAILED', /can't be found out .*answered SERVFAIL.*--force/)
    )
    assert.equal((await publish()).outcome, 'printed')
    assert.equal((await publish({ publisher: exec(), force: true })).outcome, 'published')
    await assert.rejects(
      publishing.published(DOMAIN, signal),
      refusal('SOURCE_FAILED', /no name server answers/)
    )
  })

  it('says what long TTLs cost', async () => {
    dns.setTxt(`_dnslink.${DOMAIN}`, [`dnslink=/ipfs/${BEFORE}`], 7200)
    const { advice } = await publish({ ttl: 900 })
    assert.equal(advice.length, 2)
    assert.match(advice[0] ?? '', /has a TTL of 7200 s/)
    assert.match(advice[1] ?? '', /with a TTL of 900 s/)
  })

  it('gives up waiting for resolvers that do not show it, and names them', async () => {
    await assert.rejects(
      publish({ publisher: exec(), waitMs: 0 }),
      refusal('SOURCE_TIMEOUT', new RegExp(`${dns.address} has no record yet`))
    )
  })

  it('names the record that resolvers do not show', async () => {
    inDns(`/ipfs/${OURS}`)
    dns.setTxt(DOMAIN, ['ipfsnode=["/ip4/192.0.2.1/tcp/4001"]'])
    await assert.rejects(
      publish({ publisher: exec(), waitMs: 0 }),
      refusal('SOURCE_TIMEOUT', new RegExp(`${dns.address} does not show the record ipfsnode=… yet, for`))
    )
    assert.deepEqual((await publish()).servers[0]?.differs, ['ipfsnode='])
  })

  it('publishes at the addresses that the gateway announces, also when it does not run', async () => {
    const own = ['/ip4/203.0.113.7/tcp/4001']
    publishing.announce(
      async () => own,
      () => own
    )
    const value = (report: PublishReport) => report.records[1]?.value
    assert.equal(value(await publish()), `ipfsnode=${JSON.stringify(own)}`)
    const alone = createPublishing({
      trees: { root: async () => root, had: async () => true },
      places: { published: async () => undefined },
      records: records as never,
      settings: {
        publishers: new Map(),
        dnsServers: [dns.address],
        dnsTimeoutMs: 2000,
        execTimeoutMs: 1000,
        afterMs: 10
      },
      addresses: () => [],
      log
    })
    assert.equal(value(await publish({}, alone)), `ipfsnode=${JSON.stringify(own)}`)
  })

  it('refuses settings of a domain that no publisher can be made of', () => {
    const publishers = new Map([[DOMAIN, { way: 'rfc2136', options: {} } as PublisherSetting]])
    assert.throws(() => make({ publishers }), /SEAWAY_PUBLISHERS for ships\.example/)
  })

  describe('by an IPNS name', () => {
    let signed: string[]
    let current: CID | undefined
    const ipns = (): PublishByIpns => ({
      name: async () => NAME,
      publish: async (_, cid, addresses) => {
        signed.push(`${cid} at ${addresses.join()}`)
        return { notes: ['a note'] }
      },
      current: async () => current
    })

    beforeEach(() => {
      signed = []
      current = undefined
    })

    it('signs first, then has the link written once', async () => {
      const by = make({ ipns: ipns() })
      const report = await publish({ ipns: true, publisher: exec() }, by)
      assert.deepEqual([report.outcome, report.ipns], ['published', NAME])
      assert.equal(report.records[0]?.value, `dnslink=/ipns/${NAME}`)
      assert.deepEqual(signed, [`${OURS} at ${ADDRESS}`])
      assert.ok(report.advice.includes('a note'))
    })

    it('leaves the link alone afterwards, and refuses over a root of others', async () => {
      inDns(`/ipns/${NAME}`)
      dns.setTxt(DOMAIN, [`ipfsnode=${JSON.stringify([ADDRESS])}`])
      const by = make({ ipns: ipns() })
      current = BEFORE
      const before = await called()
      assert.equal((await publish({ ipns: true, publisher: exec() }, by)).outcome, 'published')
      assert.equal(await called(), before, 'the record in DNS is right already')
      current = OURS
      assert.equal((await publish({ ipns: true, publisher: exec() }, by)).outcome, 'unchanged')
      current = FOREIGN
      signed = []
      await assert.rejects(
        publish({ ipns: true, publisher: exec() }, by),
        refusal('DENIED', /does not descend from/)
      )
      assert.deepEqual(signed, [])
    })

    it('publishes by the record alone where the link is right, and says what is missing beside it', async () => {
      const by = make({ ipns: ipns() })
      current = BEFORE
      assert.equal((await publish({ ipns: true }, by)).outcome, 'printed', 'no link leads to it')
      assert.deepEqual(heard, [])
      inDns(`/ipns/${NAME}`)
      for (const peers of [undefined, 'ipfsnode=["/ip4/192.0.2.1/tcp/4001"]']) {
        if (peers !== undefined) dns.setTxt(DOMAIN, [peers])
        const report = await publish({ ipns: true, waitMs: 0 }, by)
        assert.deepEqual([report.outcome, report.via], ['published', 'an IPNS record'])
        assert.match(report.advice.join(), /the record ipfsnode=… at ships\.example is not the one above/)
        assert.equal(report.servers[0]?.agrees, true)
        current = OURS
      }
      assert.equal((await by.state(DOMAIN)).published?.root, OURS.toString())
      assert.deepEqual(heard, [`${DOMAIN} ${OURS}`, `${DOMAIN} ${OURS}`])
    })

    it('is refused where there is none', async () => {
      await assert.rejects(publish({ ipns: true }), refusal('UNSUPPORTED', /IPNS/))
    })
  })
})

describe('publishing by itself', () => {
  let published: Record<string, string>
  let roots: Record<string, CID>
  /** The gateway's addresses, and those at which it published. */
  let addresses: string[]
  let publishedAt: string[]
  let attempts: string[]
  let fail: unknown
  let release: (() => void) | undefined
  let push: (domain: string) => void

  function auto(afterMs = 5) {
    const outcomes: AutoOutcome[] = []
    let told = Promise.withResolvers<void>()
    const publisher = createAutoPublisher({
      publishing: {
        async publish({ domain }) {
          attempts.push(`${domain} ${roots[domain]}`)
          await new Promise<void>((resolve) => {
            if (release === undefined) resolve()
            else release = resolve
          })
          if (fail !== undefined) throw fail
          published[domain] = String(roots[domain])
          publishedAt = addresses
          return { domain, root: published[domain], outcome: 'published' } as PublishReport
        },
        state: async (domain) => {
          const one = published[domain]
          return one === undefined
            ? {}
            : { published: { root: one, at: '', via: '', addresses: publishedAt } }
        },
        addresses: async () => addresses
      },
      domains: ['a.example', 'b.example'],
      root: async (domain) => roots[domain],
      onRoot: (listener) => {
        push = (domain) => listener(domain, roots[domain] as CID)
      },
      afterMs,
      log
    })
    publisher.onOutcome((outcome) => {
      outcomes.push(outcome)
      told.resolve()
    })
    return {
      ...publisher,
      outcomes,
      /** The outcomes, once there are so many. */
      async until(count: number): Promise<AutoOutcome[]> {
        while (outcomes.length < count) {
          told = Promise.withResolvers()
          await told.promise
        }
        return outcomes
      }
    }
  }

  /** Lets what was settled be noticed. */
  const turn = () => new Promise((resolve) => setImmediate(resolve))

  afterEach(() => mock.timers.reset())
  beforeEach(() => {
    published = {}
    roots = { 'a.example': OURS }
    addresses = publishedAt = [ADDRESS]
    attempts = []
    fail = release = undefined
  })

  it('begins with what was pushed while nobody was there, and leaves the rest', async () => {
    published = { 'b.example': BEFORE.toString() }
    roots = { 'a.example': OURS, 'b.example': BEFORE, 'c.example': OURS }
    const publisher = auto()
    await publisher.start()
    await publisher.until(1)
    await publisher.stop()
    assert.deepEqual(attempts, [`a.example ${OURS}`])
  })

  it('begins with what was published at addresses that are not its own any more', async () => {
    published = { 'a.example': OURS.toString() }
    addresses = [ADDRESS.replace('4001', '4002')]
    const publisher = auto()
    await publisher.start()
    await publisher.until(1)
    await publisher.stop()
    assert.deepEqual(attempts, [`a.example ${OURS}`])
  })

  it('publishes again when its addresses change, and not when their order does', async () => {
    mock.timers.enable({ apis: ['setTimeout', 'setInterval'] })
    published = { 'a.example': OURS.toString() }
    const other = ADDRESS.replace('127.0.0.1', '203.0.113.7')
    addresses = publishedAt = [ADDRESS, other]
    const publisher = auto(1)
    const look = async (): Promise<void> => {
      mock.timers.tick(60_000)
      await turn()
      mock.timers.tick(1)
      await turn()
    }
    await publisher.start()
    addresses = [other, ADDRESS]
    await look()
    assert.deepEqual(attempts, [])
    addresses = [other]
    await look()
    await publisher.until(1)
    await look()
    await publisher.stop()
    assert.deepEqual(attempts, [`a.example ${OURS}`])
  })

  it('makes one of pushes that follow each other, and does nothing before it is started', async () => {
    published = { 'a.example': OURS.toString() }
    const publisher = auto()
    push('a.example')
    await publisher.start()
    for (const root of [BEFORE, OURS, FOREIGN]) {
      roots['a.example'] = root
      push('a.example')
      push('c.example')
    }
    await publisher.until(1)
    await publisher.stop()
    assert.deepEqual(attempts, [`a.example ${FOREIGN}`])
  })

  it('publishes a root that came meanwhile afterwards, not beside', async () => {
    const publisher = auto(1)
    release = () => undefined
    await publisher.start()
    while (attempts.length === 0) await turn()
    roots['a.example'] = BEFORE
    push('a.example')
    push('a.example')
    const go = release
    release = undefined
    go()
    await publisher.until(2)
    await publisher.stop()
    assert.deepEqual(attempts, [`a.example ${OURS}`, `a.example ${BEFORE}`])
  })

  it('puts a root off while pushes follow each other, but not for ever', async () => {
    mock.timers.enable({ apis: ['setTimeout', 'Date'] })
    published = { 'a.example': OURS.toString() }
    const publisher = auto(1000)
    await publisher.start()
    for (let ms = 0; ms < 11_000; ms += 500) {
      push('a.example')
      mock.timers.tick(500)
    }
    assert.deepEqual(attempts, [])
    for (let ms = 0; ms < 1500; ms += 500) {
      push('a.example')
      mock.timers.tick(500)
    }
    await publisher.until(1)
    await publisher.stop()
    assert.equal(attempts.length, 1)
  })

  it('tries again after a failure, but not where others published first', async () => {
    mock.timers.enable({ apis: ['setTimeout'] })
    fail = new RegistryError('SOURCE_TIMEOUT', 'nobody answers')
    const publisher = auto(1)
    await publisher.start()
    mock.timers.tick(1)
    const [first] = await publisher.until(1)
    assert.ok(first && 'error' in first && first.retryMs !== undefined, JSON.stringify(first))
    await turn()
    mock.timers.tick(first.retryMs - 1)
    assert.equal(attempts.length, 1)
    fail = new RegistryError('DENIED', 'sync first', { detail: { published: 'x', root: 'y' } })
    mock.timers.tick(1)
    const outcomes = await publisher.until(2)
    assert.deepEqual(outcomes[1], { domain: 'a.example', error: 'sync first' })
    fail = undefined
    await turn()
    mock.timers.tick(24 * 3_600_000)
    await turn()
    assert.equal(attempts.length, 2, 'nothing is tried until the next push')
    push('a.example')
    mock.timers.tick(1)
    await publisher.until(3)
    await publisher.stop()
    assert.equal(attempts.length, 3)
  })

  it('ends with what is under way', async () => {
    const publisher = auto(1)
    await publisher.start()
    await publisher.until(1)
    await publisher.stop()
    push('a.example')
    assert.deepEqual(attempts.length, 1)
  })
})
