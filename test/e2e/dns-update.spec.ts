/** Dynamic updates against the real thing: BIND's named. */
import assert from 'node:assert/strict'
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { txtRecord } from '../../src/discovery/index.ts'
import {
  type Publisher,
  type RecordChange,
  type RecordSet,
  ZoneChanged
} from '../../src/discovery/publish.ts'
import { createUpdatePublisher, type UpdateSettings } from '../../src/discovery/update.ts'
import { RegistryError } from '../../src/oci/errors.ts'
import { type Bind, startBind } from './support/bind.ts'
import { freePort } from './support/daemon.ts'
import { available, type TempDir, tempDir } from './support/process.ts'

const signal = new AbortController().signal
const facts = { domain: 'ships.example', root: 'bafy', previous: undefined }
const NAMES = ['_dnslink.ships.example', 'ships.example']

const changes = (link: string, peers: string): RecordChange[] => [
  { name: NAMES[0] as string, prefix: 'dnslink=', record: txtRecord(NAMES[0] as string, `dnslink=${link}`) },
  {
    name: NAMES[1] as string,
    prefix: 'ipfsnode=',
    record: txtRecord(NAMES[1] as string, `ipfsnode=${peers}`)
  }
]

describe('RFC 2136 updates of a real named', function () {
  this.timeout(60_000)
  let temp: TempDir
  let bind: Bind
  let settings: UpdateSettings

  const publisher = (more: Partial<UpdateSettings> = {}, timeoutMs = 10_000): Publisher =>
    createUpdatePublisher({ ...settings, ...more }, { servers: [bind.server], timeoutMs })
  const read = (by: Publisher): Promise<readonly RecordSet[]> =>
    by.read?.(NAMES, { signal }) as Promise<RecordSet[]>
  const refusal = async (work: Promise<unknown>): Promise<RegistryError> => {
    try {
      await work
    } catch (error) {
      assert.ok(error instanceof RegistryError, String(error))
      return error
    }
    throw new Error('not refused')
  }

  before(async function () {
    if (!available('named', 'tsig-keygen', 'dig', 'nsupdate')) this.skip()
    temp = tempDir('update')
    bind = await startBind({
      dir: temp.path,
      zones: {
        'ships.example': [{ name: '@', data: 'v=spf1 -all', ttl: 300 }],
        'docks.example': [],
        'quays.example': []
      },
      updateKey: 'publisher'
    })
    settings = { server: bind.server, zone: undefined, keyFile: bind.key?.file ?? '', transport: 'tcp' }
  })
  after(async () => {
    await bind?.stop()
    await temp?.remove()
  })

  for (const transport of ['tcp', 'udp'] as const) {
    it(`puts both records there over ${transport}, splits long ones, and leaves others alone`, async () => {
      const by = publisher({ transport })
      const long = JSON.stringify(
        Array.from({ length: 9 }, (_, i) => `/ip4/192.0.2.${i}/tcp/4001/p2p/12D3Koo${'W'.repeat(40)}`)
      )
      await by.write(changes(`/ipfs/${transport}`, long), { seen: await read(by), facts, signal })
      assert.deepEqual(await bind.dig('_dnslink.ships.example'), [`"dnslink=/ipfs/${transport}"`])
      const texts = await bind.dig('ships.example')
      assert.ok(texts.includes('"v=spf1 -all"'), String(texts))
      const strings = texts.find((text) => text.includes('ipfsnode')) ?? ''
      assert.ok(long.length > 500)
      assert.deepEqual(
        strings
          .match(/"(?:[^"\\]|\\.)*"/g)
          ?.map((each) => JSON.parse(each))
          .join(''),
        `ipfsnode=${long}`
      )
      const [, bare] = await read(by)
      // records of one name and type have one TTL: the older one's stays
      assert.deepEqual(
        bare?.records.map(({ ttl }) => ttl),
        [300, 300]
      )
    })
  }

  it('takes the zone as it is given too', async () => {
    const seen = await read(publisher())
    await publisher({ zone: 'ships.example' }).write(changes('/ipfs/z', '[]'), { seen, facts, signal })
    assert.deepEqual(await bind.dig('_dnslink.ships.example'), ['"dnslink=/ipfs/z"'])
  })

  for (const updateAlgorithm of ['hmac-sha384', 'hmac-sha512'] as const) {
    it(`signs with ${updateAlgorithm}`, async () => {
      const dir = join(temp.path, updateAlgorithm)
      const other = await startBind({ dir, zones: { 'ships.example': [] }, updateKey: 'k', updateAlgorithm })
      try {
        const by = publisher({ server: other.server, keyFile: other.key?.file ?? '' })
        await by.write(changes('/ipfs/long', '[]'), { seen: await read(by), facts, signal })
        assert.deepEqual(await other.dig('_dnslink.ships.example'), ['"dnslink=/ipfs/long"'])
      } finally {
        await other.stop()
      }
    })
  }

  it('finds the primary by the SOA when no server is given', async () => {
    // named tells its own name, which the system's resolver doesn't know here: that is as far as it can get
    const error = await refusal(
      publisher({ server: undefined }, 2000).write(changes('/ipfs/z', '[]'), { seen: [], facts, signal })
    )
    assert.match(error.message, /ns\.ships\.example:53/)
  })

  it('two publishers at once: the second is told, and nothing of it is there', async () => {
    const [one, two] = [publisher(), publisher()]
    const [seen, too] = [await read(one), await read(two)]
    await one.write(changes('/ipfs/one', '["a"]'), { seen, facts, signal })
    const error = await refusal(two.write(changes('/ipfs/two', '["b"]'), { seen: too, facts, signal }))
    assert.ok(error instanceof ZoneChanged)
    assert.match(error.message, /changed by somebody else/)
    assert.deepEqual(await bind.dig('_dnslink.ships.example'), ['"dnslink=/ipfs/one"'])
    assert.ok((await bind.dig('ships.example')).every((text) => !text.includes('[\\"b')))
  })

  it('two first publishers at once: "there is no record" is a prerequisite too', async () => {
    const names = ['_dnslink.docks.example']
    const change = (link: string): RecordChange[] => [
      {
        name: names[0] as string,
        prefix: 'dnslink=',
        record: txtRecord(names[0] as string, `dnslink=${link}`)
      }
    ]
    const by = publisher()
    const seen = (await by.read?.(names, { signal })) ?? []
    await by.write(change('/ipfs/one'), { seen, facts, signal })
    assert.ok((await refusal(by.write(change('/ipfs/two'), { seen, facts, signal }))) instanceof ZoneChanged)
    assert.deepEqual(await bind.dig(names[0] as string), ['"dnslink=/ipfs/one"'])
  })

  it('a wrong secret, an unknown key, a wrong zone, a foreign zone: each is named', async () => {
    const text = await readFile(settings.keyFile, 'utf8')
    const wrong = join(temp.path, 'wrong.key')
    const secret = Buffer.alloc(32, 7).toString('base64')
    await writeFile(wrong, text.replace(/secret "[^"]+"/, `secret "${secret}"`))
    const signature = await refusal(read(publisher({ keyFile: wrong })))
    assert.equal(signature.code, 'DENIED')
    assert.match(signature.message, /refused the key publisher: BADSIG/)
    assert.ok(!signature.message.includes(secret))
    const unknown = join(temp.path, 'unknown.key')
    await writeFile(unknown, text.replace('key "publisher"', 'key "stranger"'))
    assert.match(
      (await refusal(read(publisher({ keyFile: unknown })))).message,
      /refused the key stranger: BADKEY/
    )
    const other = await refusal(
      publisher({ zone: 'nowhere.example' }).write(changes('/ipfs/z', '[]'), { seen: [], facts, signal })
    )
    assert.match(other.message, /zone nowhere\.example: NOTAUTH/)
    const beside = await refusal(
      publisher({ zone: 'docks.example' }).write(changes('/ipfs/z', '[]'), {
        seen: await read(publisher()),
        facts,
        signal
      })
    )
    assert.match(beside.message, /zone docks\.example: NOTZONE/)
    const foreign = await refusal(
      publisher().read?.(['_dnslink.foreign.example'], { signal }) ?? Promise.resolve()
    )
    assert.match(foreign.message, /REFUSED/)
    const missing = await refusal(read(publisher({ keyFile: join(temp.path, 'none') })))
    assert.match(missing.message, /key file .*none is of no use/)
  })

  it('gives the same text another TTL', async () => {
    const by = publisher()
    const name = '_dnslink.ttl.quays.example'
    for (const ttl of [86_400, 60]) {
      const change = { name, prefix: 'dnslink=', record: txtRecord(name, 'dnslink=/ipfs/same', ttl) }
      const seen = (await by.read?.([name], { signal })) ?? []
      await by.write([change], { seen, facts, signal })
      const [set] = (await by.read?.([name], { signal })) ?? []
      assert.deepEqual(
        set?.records.map((record) => record.ttl),
        [ttl]
      )
    }
  })

  describe('a wildcard', () => {
    const below = (name: string): string[] => [`_dnslink.${name}`, name]
    const put = async (name: string): Promise<readonly RecordSet[]> => {
      const by = publisher()
      const seen = (await by.read?.(below(name), { signal })) ?? []
      const [link, peers] = below(name) as [string, string]
      const change: RecordChange[] = [
        { name: link, prefix: 'dnslink=', record: txtRecord(link, 'dnslink=/ipfs/w') },
        { name: peers, prefix: 'ipfsnode=', record: txtRecord(peers, 'ipfsnode=[]') }
      ]
      await by.write(change, { seen, facts, signal })
      assert.deepEqual(await bind.dig(link), ['"dnslink=/ipfs/w"'])
      assert.ok((await bind.dig(peers)).includes('"ipfsnode=[]"'))
      return seen
    }

    it('is no record at the names below it, neither text nor alias', async () => {
      for (const data of ['TXT "v=spf1 -all"', 'CNAME elsewhere.ships.example.']) {
        await bind.setLines('quays.example', [`*.quays.example. 1 IN ${data}`])
        const seen = await put('deep.app.quays.example')
        assert.deepEqual(
          seen.map(({ records }) => records),
          [[], []]
        )
        // once more, now that the names are there
        assert.deepEqual(
          (await put('deep.app.quays.example')).map(({ records }) => records.map(({ text }) => text)),
          [['dnslink=/ipfs/w'], ['ipfsnode=[]']]
        )
      }
    })

    it('with the same text as a record of its own does not hide that', async () => {
      const lines = ['*.quays.example', 'own.quays.example', '*.own.quays.example']
      await bind.setLines(
        'quays.example',
        lines.map((name) => `${name}. 1 IN TXT "v=spf1 -all"`)
      )
      await put('own.quays.example')
      assert.ok((await bind.dig('own.quays.example')).includes('"v=spf1 -all"'))
    })
  })

  it('an alias in the way, and a server that is silent or not there', async () => {
    await bind.setLines('docks.example', ['_dnslink.docks.example. 1 IN CNAME elsewhere.ships.example.'])
    const alias = await refusal(
      publisher().read?.(['_dnslink.docks.example'], { signal }) ?? Promise.resolve()
    )
    assert.match(alias.message, /alias \(CNAME\) of elsewhere\.ships\.example/)
    const nobody = await refusal(read(publisher({ server: `127.0.0.1:${await freePort()}` })))
    assert.equal(nobody.code, 'SOURCE_FAILED')
    const silent = await refusal(
      read(publisher({ server: `127.0.0.1:${await freePort()}`, transport: 'udp' }, 1500))
    )
    assert.match(silent.code, /^SOURCE_/)
  })
})
