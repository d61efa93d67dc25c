/** Looking at images: every kind of source alike, and what is said of it. */
import assert from 'node:assert/strict'
import { digestOf } from '../../src/oci/digest.ts'
import { RegistryError } from '../../src/oci/errors.ts'
import { createLooking, type Looking } from '../../src/registry/look.ts'
import { diffConfigs, diffLayers, diffLists, type TagEntry } from '../../src/registry/look-compare.ts'
import type { Cursor, ImagesQuery } from '../../src/registry/look-list.ts'
import type { ImageSummary } from '../../src/registry/look-summary.ts'
import { parseImage, parseSource, type SourceName } from '../../src/registry/source-name.ts'
import { openRegistrySource, type RegistrySource } from '../../src/registry/source-registry.ts'
import { labelledImage, twoPlatforms } from '../support/labelled-images.ts'
import {
  descriptor,
  type Made,
  manifest,
  OCI_CONFIG,
  type OciClient,
  ociClient
} from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'
import { startUpstreamRegistry } from '../support/upstream-registry.ts'

const GATEWAY: SourceName = { kind: 'gateway' }

describe('looking at images', function () {
  this.timeout(60_000)
  let publisher: RegistryServer
  let reader: RegistryServer
  let client: OciClient
  let root: string
  let first: string
  let signature: Made
  const { signal } = new AbortController()
  const opened: RegistrySource[] = []
  const far = createLooking(async (source) => {
    assert.equal(source.kind, 'registry')
    const registry = openRegistrySource(source, {
      auth: undefined,
      timeoutMs: 5000,
      proxies: { http: '', https: '', none: '' }
    })
    opened.push(registry)
    return registry
  }, 10_000)

  before(async () => {
    publisher = await startRegistryServer()
    client = ociClient(publisher)
    for (const tag of ['1.9', '1.10', 'latest']) await labelledImage(client, 'ships.example/app', tag)
    first = await publisher.publish('ships.example')
    await publisher.registry.history.note(
      'ships.example',
      (await publisher.registry.root('ships.example')) ?? assert.fail()
    )
    await labelledImage(client, 'ships.example/deep/web', '1', {
      created: '2026-01-02T03:04:05Z',
      labels: { team: 'web' },
      layers: [Buffer.alloc(2_000_000, 'x')]
    })
    const multi = await twoPlatforms(client, 'ships.example/multi', '1', {
      created: '2026-06-01T00:00:00Z',
      labels: { team: 'core', stage: '' },
      env: ['PATH=/bin']
    })
    const empty = await client.blob('ships.example/multi', '{}', 'application/vnd.oci.empty.v1+json')
    const about = { config: empty, layers: [empty], subject: descriptor(multi) }
    signature = manifest({ artifactType: 'application/x.signature', ...about })
    await client.put('ships.example/multi', signature)
    await client.put('ships.example/deep/web', await artifact(client), 'sbom')
    root = await publisher.publish('ships.example')
    await publisher.registry.history.note(
      'ships.example',
      (await publisher.registry.root('ships.example')) ?? assert.fail()
    )
    reader = await startRegistryServer({ dns: publisher.dns })
  })
  after(async () => {
    for (const registry of opened) registry.stop()
    await reader.stop()
    await publisher.stop()
  })

  async function artifact(to: OciClient) {
    const config = await to.blob('ships.example/deep/web', '{}', 'application/vnd.oci.empty.v1+json')
    return manifest({ artifactType: 'application/spdx+json', config, layers: [config] })
  }

  /** All of a list, page after page. */
  async function all(
    looking: Looking,
    source: SourceName,
    query: Partial<ImagesQuery> = {}
  ): Promise<ImageSummary[]> {
    const found: ImageSummary[] = []
    let after: Cursor | undefined
    do {
      const page = await looking.images(source, { details: true, ...query }, after, signal)
      found.push(...page.images)
      after = page.next
    } while (after !== undefined)
    return found
  }

  const names = (images: readonly ImageSummary[]) =>
    images.map(({ repository, tag }) => `${repository}:${tag}`)
  const refused = (code: string, text: RegExp) => (error: unknown) =>
    error instanceof RegistryError && error.code === code && text.test(error.message)

  const ALL = ['app:1.10', 'app:1.9', 'app:latest', 'deep/web:1', 'deep/web:sbom', 'multi:1'].map(
    (name) => `ships.example/${name}`
  )

  /** Each kind of source: by whom it is looked at, and as what. */
  const kinds: Record<string, () => [Looking, SourceName]> = {
    'the gateway that has them': () => [publisher.registry.looking, GATEWAY],
    'a published domain': () => [reader.registry.looking, parseSource('ships.example')],
    'a root by its CID': () => [publisher.registry.looking, parseSource(root)],
    'a published root by its number': () => [publisher.registry.looking, parseSource('ships.example@2')],
    'a gateway by its URL': () => [far, parseSource(`http://${publisher.host}`)],
    'a domain of a gateway by its URL': () => [far, parseSource(`http://${publisher.host}/ships.example`)]
  }
  for (const [kind, source] of Object.entries(kinds)) {
    describe(kind, () => {
      it('lists images in order, with what they are', async () => {
        const found = await all(...source())
        assert.deepEqual(names(found), ALL)
        const [, , , web, sbom, multi] = found
        assert.deepEqual(
          [web?.type, web?.layers, web?.created, web?.labels, web?.problem],
          ['image', 1, '2026-01-02T03:04:05Z', { team: 'web' }, undefined]
        )
        assert.ok((web?.size ?? 0) > 2_000_000)
        assert.deepEqual(
          [sbom?.type, sbom?.artifactType, sbom?.platforms],
          ['artifact', 'application/spdx+json', []]
        )
        assert.deepEqual(
          [multi?.type, multi?.layers, multi?.platforms?.map(({ platform, layers }) => [platform, layers])],
          [
            'index',
            3,
            [
              ['linux/amd64', 2],
              ['linux/arm64', 2]
            ]
          ]
        )
      })

      it('lists names and digests alone, and goes on where a page ended', async () => {
        const [looking, name] = source()
        const whole = await all(looking, name, { details: false })
        assert.deepEqual(names(whole), ALL)
        assert.deepEqual(Object.keys(whole[0] ?? {}), ['repository', 'tag', 'digest'])
        for (const [i, { repository, tag = '' }] of whole.entries()) {
          const { images } = await looking.images(name, { details: false }, { repository, tag }, signal)
          assert.deepEqual(names(images), ALL.slice(i + 1))
        }
        const { images } = await looking.images(
          name,
          { details: false },
          { repository: 'ships.example/app' },
          signal
        )
        assert.deepEqual(names(images), ALL.slice(3))
      })

      it('filters', async () => {
        const [looking, name] = source()
        const cases: [Partial<ImagesQuery>, number[]][] = [
          [{ repositories: 'ships.example/*' }, [0, 1, 2, 5]],
          [{ repositories: 'ships.example/**' }, [0, 1, 2, 3, 4, 5]],
          [{ repositories: 'ships.example/app', tags: '1.*' }, [0, 1]],
          [{ repositories: 'nobody*' }, []],
          [{ labels: ['team'] }, [3, 5]],
          [{ labels: ['team=core', 'stage'] }, [5]],
          [{ labels: ['toString'] }, []],
          [{ platform: 'linux/arm64' }, [5]],
          [{ platform: 'linux/amd64' }, [0, 1, 2, 3, 5]],
          [{ olderThan: Date.parse('2026-03-01') }, [3]],
          [{ newerThan: Date.parse('2026-03-01') }, [5]],
          [{ largerThan: 1_000_000 }, [3]],
          [{ smallerThan: 1_000_000, repositories: 'ships.example/deep/*' }, [4]]
        ]
        for (const [query, wanted] of cases)
          assert.deepEqual(
            names(await all(looking, name, query)),
            wanted.map((i) => ALL[i]),
            JSON.stringify(query)
          )
      })

      it('shows one platform of an index as if it were alone', async () => {
        const [looking, name] = source()
        const [image] = await all(looking, name, {
          repositories: 'ships.example/multi',
          platform: 'linux/arm64'
        })
        assert.equal(image?.layers, 2)
        assert.equal(image?.size, image?.platforms?.[1]?.size)
      })

      it('shows an image in full', async () => {
        const [looking, name] = source()
        const { repository, reference } = parseImage('ships.example/multi:1')
        const at = name.kind === 'registry' ? { ...name, path: '' } : name
        const found = await looking.inspect(at, { repository, reference }, signal)
        assert.equal(digestOf(Buffer.from(found.manifest, 'base64')), found.digest)
        assert.deepEqual(
          found.platforms.map(({ platform, layers }) => [platform, layers.length]),
          [
            ['linux/amd64', 2],
            ['linux/arm64', 2]
          ]
        )
        assert.deepEqual(
          found.referrers?.map(({ digest, artifactType }) => [digest, artifactType]),
          [[signature.digest, 'application/x.signature']]
        )
        const [amd] = found.platforms
        assert.deepEqual([amd?.about?.env, amd?.about?.cmd], [['PATH=/bin'], ['/bin/app']])
        assert.deepEqual(
          amd?.layers.map(({ step }) => step),
          ['COPY part0 /', 'COPY part1 /']
        )
        for (const { cid } of amd?.layers ?? []) assert.match(cid ?? '', /^bafkrei/)
        const one = await looking.inspect(at, { repository, reference, platform: 'linux/arm64' }, signal)
        assert.deepEqual(
          one.platforms.map(({ platform }) => platform),
          ['linux/arm64']
        )
      })

      it('says what is not there', async () => {
        const [looking, name] = source()
        const at = name.kind === 'registry' ? { ...name, path: '' } : name
        const inspect = (text: string, platform?: string) => {
          const { repository, reference } = parseImage(text)
          return looking.inspect(at, { repository, reference, ...(platform && { platform }) }, signal)
        }
        await assert.rejects(inspect('ships.example/app:none'), refused('MANIFEST_UNKNOWN', /app/))
        await assert.rejects(inspect('ships.example/none:1'), (error: RegistryError) =>
          error.code.endsWith('_UNKNOWN')
        )
        await assert.rejects(
          inspect('ships.example/multi:1', 'linux/s390x'),
          refused('MANIFEST_UNKNOWN', /linux\/arm64/)
        )
        const one = { repositories: 'ships.example/none', one: true }
        await assert.rejects(all(looking, at, one), refused('NAME_UNKNOWN', /ships\.example\/none/))
      })
    })
  }

  describe('besides', () => {
    it('says who has it, and what of it is here', async () => {
      const { repository, reference } = parseImage('ships.example/deep/web:1')
      const query = { repository, reference }
      const found = await reader.registry.looking.inspect(parseSource('ships.example'), query, signal)
      assert.deepEqual(
        found.providers.map(({ address, from, connected }) => [address, from, connected]),
        publisher.addresses().map((address) => [address, 'record', true])
      )
      const [platform] = found.platforms
      // the config was read just now; the layer wasn't
      assert.deepEqual([platform?.config?.here, platform?.layers.map(({ here }) => here)], [true, [false]])
      assert.equal(found.root, root)
      const own = await publisher.registry.looking.inspect(GATEWAY, query, signal)
      assert.deepEqual(
        own.platforms[0]?.layers.map(({ here }) => here),
        [true]
      )
      assert.match(own.platforms[0]?.layers[0]?.cid ?? '', /^bafybei/, 'two leaves')
    })

    it('tells roots apart by what differs between them', async () => {
      const { looking } = publisher.registry
      const found = await looking.changes(parseSource(first), parseSource('ships.example@2'), 1000, signal)
      assert.deepEqual(
        found.changes.map(({ repository, tag, change, before }) => [`${repository}:${tag}`, change, before]),
        ALL.slice(3).map((name) => [name, 'added', undefined])
      )
      const back = await looking.changes(parseSource(root), parseSource(first), 2, signal)
      assert.deepEqual([back.changes.map(({ change }) => change), back.more], [['removed', 'removed'], 1])
      const none = await looking.changes(parseSource(root), parseSource('ships.example@2'), 10, signal)
      assert.deepEqual(none, { changes: [], more: 0 })
      await assert.rejects(
        looking.changes(parseSource(root), parseSource('https://registry.example'), 10, signal),
        refused('UNSUPPORTED', /no tree/)
      )
    })

    it('completes names for shells', async () => {
      const { looking } = publisher.registry
      assert.deepEqual(await looking.complete('ships.example/d', 'repository', signal), [
        'ships.example/deep/web'
      ])
      assert.deepEqual(await looking.complete('ships.example/app:1', 'image', signal), [
        'ships.example/app:1.10',
        'ships.example/app:1.9'
      ])
      assert.deepEqual(await looking.complete('s', 'domain', signal), ['ships.example'])
    })

    describe('another registry', () => {
      const listed = (url: string, query: Partial<ImagesQuery>) => all(far, parseSource(url), query)

      it('that sends something else as a config is not believed, and the rest is listed', async () => {
        const registry = await startUpstreamRegistry()
        try {
          registry.image('app', '1', ['one'])
          registry.image('app', '2', ['two', 'three'])
          const [config] = JSON.parse(registry.image('app', '3', ['x']).bytes.toString()).config.digest.split(
            ' '
          )
          registry.fault = (req, res) => {
            if (req.url?.includes(config) !== true) return false
            res.end(JSON.stringify({ os: 'linux', architecture: 'amd64', text: 'x'.repeat(9) }))
            return true
          }
          const found = await listed(registry.url, { repositories: 'app', one: true })
          assert.deepEqual(
            found.map(({ tag, layers, problem }) => [tag, layers, problem === undefined]),
            [
              ['1', 1, true],
              ['2', 2, true],
              ['3', undefined, false]
            ]
          )
        } finally {
          await registry.stop()
        }
      })

      it('that lacks one platform of an image, as caches do, shows the others, and that is no problem', async () => {
        const registry = await startUpstreamRegistry()
        try {
          const here = registry.image('app', 'one', ['one'])
          const elsewhere = manifest({ config: here, layers: [] })
          registry.index('app', '1', [here, elsewhere])
          const [image] = await listed(registry.url, { repositories: 'app', tags: '1', one: true })
          assert.deepEqual(
            [image?.problem, image?.layers, image?.platforms?.map(({ layers }) => layers)],
            [undefined, 1, [1, undefined]]
          )
        } finally {
          await registry.stop()
        }
      })

      it('that fails again and again ends the list', async () => {
        const registry = await startUpstreamRegistry()
        try {
          for (let i = 0; i < 9; i++) registry.image('app', String(i), ['one'])
          registry.fault = (req, res) => {
            if (req.url?.includes('/manifests/') !== true) return false
            res.writeHead(403).end()
            return true
          }
          await assert.rejects(listed(registry.url, { repositories: 'app', one: true }), /refuses access/)
        } finally {
          await registry.stop()
        }
      })

      it('whose lists have an order of their own is put into order', async () => {
        const registry = await startUpstreamRegistry()
        try {
          const tags = ['c', 'a', 'e', 'b', 'd']
          for (const tag of tags) registry.image('app', tag, [tag])
          registry.fault = (req, res) => {
            const url = new URL(req.url ?? '', registry.url)
            if (!url.pathname.endsWith('/tags/list')) return false
            const from = Number(url.searchParams.get('at') ?? 0)
            const more =
              from + 2 < tags.length ? { link: `</v2/app/tags/list?at=${from + 2}>; rel="next"` } : {}
            res.writeHead(200, more).end(JSON.stringify({ tags: tags.slice(from, from + 2) }))
            return true
          }
          const found = await listed(registry.url, { repositories: 'app', one: true, details: false })
          assert.deepEqual(
            found.map(({ tag }) => tag),
            ['a', 'b', 'c', 'd', 'e']
          )
        } finally {
          await registry.stop()
        }
      })

      it('that wants a login says so, and where', async () => {
        const registry = await startUpstreamRegistry({ login: { kind: 'basic', user: 'u', password: 'p' } })
        try {
          const host = new URL(registry.url).host
          await assert.rejects(
            listed(registry.url, { repositories: 'app', one: true }),
            refused('DENIED', new RegExp(`docker login ${host}`))
          )
        } finally {
          await registry.stop()
        }
      })

      it('that nobody serves is a failure in words', async () => {
        await assert.rejects(
          listed('http://127.0.0.1:9', {}),
          refused('SOURCE_FAILED', /127\.0\.0\.1:9.*connection refused/)
        )
      })
    })

    it('an image whose config is no JSON is listed with that', async () => {
      const config = await client.blob('odd', 'not JSON', OCI_CONFIG)
      await client.put('odd', manifest({ config, layers: [] }), '1')
      const found = await all(publisher.registry.looking, GATEWAY, { repositories: 'odd' })
      assert.match(found[0]?.problem ?? '', /image config.*not JSON/)
    })

    it('compares lists in step', async () => {
      async function* list(...tags: string[]): AsyncGenerator<TagEntry> {
        for (const tag of tags) {
          const [name = '', digest = 'x'] = tag.split('=')
          yield { repository: 'app', tag: name, digest: digestOf(Buffer.from(digest)) }
        }
      }
      const found = await diffLists(list('a', 'b=1', 'c', 'e'), list('b=2', 'c', 'd', 'e', 'f'), 3)
      assert.deepEqual(
        [found.changes.map(({ tag, change }) => `${change} ${tag}`), found.more],
        [['removed a', 'changed b', 'added d'], 1]
      )
    })

    it('compares layers and configs of two images', async () => {
      const { looking } = publisher.registry
      const image = async (tag: string, env: string, layers: string[]) => {
        await labelledImage(client, 'pair', tag, { env: [env], layers, labels: { version: tag } })
        return looking.inspect(GATEWAY, { repository: 'pair', reference: { kind: 'tag', tag } }, signal)
      }
      const before = await image('1', 'A=1', ['base', 'old'])
      const after = await image('2', 'A=2', ['base', 'new', 'newer'])
      assert.deepEqual(
        diffLayers(before, after).map(({ change, size }) => `${change} ${size}`),
        ['same 4', 'removed 3', 'added 3', 'added 5']
      )
      assert.deepEqual(diffConfigs(before, after), [
        { field: 'env.A', before: '1', after: '2' },
        { field: 'labels.version', before: '1', after: '2' }
      ])
    })
  })
})
