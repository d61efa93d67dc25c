import assert from 'node:assert/strict'
import { mkdirSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { upstreams } from '../src/config/upstreams.ts'
import { ConfigError, flagOf, readConfig, SETTINGS, variableOf } from '../src/config.ts'
import { tempFolder } from './support/temp.ts'

const read = (env: Record<string, string>, flags: Record<string, string> = {}, file?: string) =>
  readConfig({ flags, env, ...(file === undefined ? {} : { file }) })

describe('config', () => {
  it('works with nothing set, on loopback', () => {
    const config = read({})
    assert.deepEqual(config.listen, { host: '127.0.0.1', port: 5000 })
    assert.equal(config.routing, 'none')
    assert.ok(config.data.endsWith('/seaway'))
    assert.equal(config.uploadExpiry, 86_400_000)
  })

  it('takes flags before the environment before the file', async () => {
    const folder = tempFolder()
    const file = join(folder.path, 'seaway.yaml')
    writeFileSync(
      file,
      'listen: "127.0.0.1:1"\nrouting: public\ndnsServers: [127.0.0.1:53, https://dns.test/dns-query]\nallowPrivatePeers: true\n'
    )
    const config = read({ SEAWAY_LISTEN: '127.0.0.1:2', SEAWAY_CONFIG: file }, { listen: '127.0.0.1:3' })
    assert.equal(config.listen.port, 3)
    assert.equal(config.routing, 'public')
    assert.deepEqual(config.dnsServers, ['127.0.0.1:53', 'https://dns.test/dns-query'])
    assert.equal(config.allowPrivatePeers, true)
    assert.equal(read({ SEAWAY_LISTEN: '127.0.0.1:2' }, {}, file).listen.port, 2)
    await folder.remove()
  })

  it('says which setting is wrong, its value, and what is allowed', async () => {
    const folder = tempFolder()
    const file = join(folder.path, 'bad.yaml')
    writeFileSync(file, 'lisen: 1\n')
    const cases: [Record<string, string>, RegExp][] = [
      [{ SEAWAY_LISTEN: 'nonsense' }, /SEAWAY_LISTEN is 'nonsense'.*HOST:PORT/],
      [{ SEAWAY_RELAYS: '/ip4/11.77.0.1/tcp/4001' }, /SEAWAY_RELAYS.*end in \/p2p\/<peer id>/],
      [{ SEAWAY_UPLOAD_LIMIT: '1KiB' }, /SEAWAY_UPLOAD_LIMIT.*at least 64KiB/],
      [{ SEAWAY_MAX_PEERS: '0' }, /SEAWAY_MAX_PEERS.*whole number from 1/],
      [{ SEAWAY_DELEGATED_ROUTERS: 'ftp://x' }, /SEAWAY_DELEGATED_ROUTERS.*URLs like/],
      [{ SEAWAY_SEED: 'some' }, /SEAWAY_SEED.*published, all, none/],
      [
        { SEAWAY_LISTEN: '0.0.0.0:5000', SEAWAY_ALLOW_ANONYMOUS_PUSH: 'yes', SEAWAY_MDNS: 'yes' },
        /SEAWAY_MDNS is yes.*SEAWAY_ALLOW_PRIVATE_PEERS=yes/
      ],
      [{ SEAWAY_LISTEN: '127.0.0.1:70000' }, /65535/],
      [{ SEAWAY_ROUTING: 'some' }, /SEAWAY_ROUTING is 'some'.*public, none/],
      [{ SEAWAY_LOG_LEVEL: 'loud' }, /SEAWAY_LOG_LEVEL.*silent.*debug/],
      [{ SEAWAY_DISK_RESERVE: '12' }, /500MB/],
      [{ SEAWAY_DNS_TIMEOUT: '5' }, /500ms, 30s/],
      [{ SEAWAY_SWARM_LISTEN: '127.0.0.1:4001' }, /\/ip4\/0\.0\.0\.0\/tcp\/4001/],
      [{ SEAWAY_DNS_SERVERS: '127.0.0.1:53,not a server' }, /SEAWAY_DNS_SERVERS is '.*not a server'.*HOST/],
      [{ SEAWAY_DNS_SERVERS: '127.0.0.1:70000' }, /SEAWAY_DNS_SERVERS.*65535/],
      [{ SEAWAY_DNS_SERVERS: 'http://dns.test/dns-query' }, /SEAWAY_DNS_SERVERS.*https URL/],
      [{ SEAWAY_DNS_SERVERS: 'https://me:secret@dns.test/' }, /SEAWAY_DNS_SERVERS.*no URL like https:/],
      [{ SEAWAY_TLS_CERT: '/c.pem' }, /SEAWAY_TLS_CERT is set, but not SEAWAY_TLS_KEY/],
      [{ SEAWAY_TLS_KEY: '/k.pem' }, /SEAWAY_TLS_KEY is set, but not SEAWAY_TLS_CERT/],
      [
        { SEAWAY_TLS_CERT: '/c.pem', SEAWAY_TLS_KEY: '/k.pem', SEAWAY_TLS_ACME_DOMAINS: 'a.example' },
        /SEAWAY_TLS_CERT and SEAWAY_TLS_ACME_DOMAINS are both set/
      ],
      [{ SEAWAY_TLS_ACME_DOMAINS: '*.a.example' }, /SEAWAY_TLS_ACME_DOMAINS.*which only DNS could prove/],
      [{ SEAWAY_TLS_ACME_DOMAINS: '192.0.2.1' }, /SEAWAY_TLS_ACME_DOMAINS.*no domain like/],
      [{ SEAWAY_TLS_PLAIN_LISTEN: '127.0.0.1:80' }, /SEAWAY_TLS_PLAIN_LISTEN is set, but there is no TLS/],
      [{ SEAWAY_SEED_TLS: 'yes' }, /SEAWAY_SEED_TLS is set, but there is no TLS/],
      [{ SEAWAY_LISTN: 'x' }, /SEAWAY_LISTN is not a setting.*SEAWAY_LISTEN/],
      [{ SEAWAY_CONFIG: file }, /'lisen'.*is not a setting.*listen/],
      [{ SEAWAY_CONFIG: join(folder.path, 'none.yaml') }, /cannot be read/]
    ]
    for (const [env, message] of cases) {
      assert.throws(
        () => read(env),
        (error) => error instanceof ConfigError && message.test(error.message),
        JSON.stringify(env)
      )
    }
    await folder.remove()
  })

  it('listens beyond loopback only if anonymous push is allowed in so many words', () => {
    assert.throws(() => read({ SEAWAY_LISTEN: '0.0.0.0:5000' }), /SEAWAY_ALLOW_ANONYMOUS_PUSH=yes/)
    assert.equal(
      read({ SEAWAY_LISTEN: '0.0.0.0:5000', SEAWAY_ALLOW_ANONYMOUS_PUSH: 'yes' }).listen.host,
      '0.0.0.0'
    )
    assert.equal(read({ SEAWAY_LISTEN: '[::1]:0' }).listen.host, '::1')
  })

  it('asks for users where there is a file of them, and then needs no permission to listen', async () => {
    const folder = tempFolder()
    const data = join(folder.path, 'data')
    const env = { SEAWAY_DATA: data, SEAWAY_LISTEN: '0.0.0.0:5000' }
    assert.throws(() => read(env), /seaway login-user/)
    assert.equal(read({ SEAWAY_DATA: data }).seed, 'all')
    mkdirSync(join(data, 'auth'), { recursive: true })
    writeFileSync(join(data, 'auth/users'), '')
    assert.equal(read(env).authUsers, join(data, 'auth/users'))
    assert.equal(read({ ...env, SEAWAY_AUTH_USERS: '/etc/users' }).authUsers, '/etc/users')
    assert.throws(
      () => read({ ...env, SEAWAY_ALLOW_ANONYMOUS_PUSH: 'yes' }),
      /SEAWAY_ALLOW_ANONYMOUS_PUSH is yes, but users/
    )
    // peers are anybody
    assert.equal(read(env).seed, 'none')
    assert.equal(read({ ...env, SEAWAY_AUTH_ANONYMOUS_PULL: 'yes' }).seed, 'all')
    assert.equal(read({ ...env, SEAWAY_SEED: 'published' }).seed, 'published')
    for (const [name, value] of [
      ['SEAWAY_AUTH_TOKEN_LIFETIME', '5s'],
      ['SEAWAY_AUTH_SCHEME', 'digest'],
      ['SEAWAY_AUTH_SERVICE', 'a "b"'],
      ['SEAWAY_AUTH_URL', 'registry.example.com']
    ] as const)
      assert.throws(() => read({ ...env, [name]: value }), new RegExp(`^ConfigError: ${name} is`))
    assert.equal(read({ ...env, SEAWAY_AUTH_URL: 'https://r.example/' }).authUrl, 'https://r.example')
    await folder.remove()
  })

  it('gives every setting a flag and a variable of its own', () => {
    assert.equal(new Set(SETTINGS.map(flagOf)).size, SETTINGS.length)
    assert.equal(new Set(SETTINGS.map(variableOf)).size, SETTINGS.length)
    assert.ok(
      SETTINGS.some(
        (setting) => variableOf(setting) === 'SEAWAY_DNS_SERVERS' && flagOf(setting) === '--dns-servers'
      )
    )
  })
})

describe('config: upstreams', () => {
  it('reads URLs in their order, options, and off', () => {
    const found = upstreams(
      'lan.example=https://a.example/x/ http://10.0.0.1:5000 ca=/a.pem auth=/b ttl=1m published=no peers=yes alias=Lan:5000, gcr.io=off, docker.io=peers=no'
    )
    assert.deepEqual(found.get('lan.example'), {
      off: false,
      urls: ['https://a.example/x', 'http://10.0.0.1:5000'],
      ca: '/a.pem',
      auth: '/b',
      ttl: 60_000,
      published: false,
      peers: true,
      aliases: ['lan:5000']
    })
    assert.deepEqual(found.get('docker.io'), { off: false, urls: [], peers: false })
    assert.equal(found.get('gcr.io')?.off, true)
  })

  it('reads the map of a settings file', () => {
    const found = upstreams(
      '{"lan.example":{"url":["https://a.example"],"offline":true,"alias":"b"},"x.example":"http://c","gcr.io":false}'
    )
    assert.deepEqual(found.get('lan.example'), {
      off: false,
      urls: ['https://a.example'],
      offline: true,
      aliases: ['b']
    })
    assert.deepEqual(found.get('x.example')?.urls, ['http://c'])
    assert.equal(found.get('gcr.io')?.off, true)
  })

  it('says what is wrong', () => {
    for (const [text, why] of [
      ['lan=https://a', /not a domain/],
      ['a.example', /DOMAIN=URL/],
      ['a.example=ftp://b', /no URL/],
      ['a.example=https://me:x@b', /credentials/],
      ['a.example=https://b?x=1', /no URL/],
      ['a.example=https://b port=5', /no option/]
    ] as const)
      assert.throws(() => upstreams(text), why)
  })
})

describe('config: publishers', () => {
  const read = (text: string) => readConfig({ flags: {}, env: { SEAWAY_PUBLISHERS: text } }).publishers

  it('reads the short form, percent-encoding and all', () => {
    const found = read('a.example=rfc2136?server=ns.example:53&key=/etc/a%2Cb.key&ipns=yes, B.example.=none')
    assert.deepEqual([...found.keys()], ['a.example', 'b.example'])
    assert.deepEqual(found.get('a.example'), {
      way: 'rfc2136',
      options: { server: 'ns.example:53', key: '/etc/a,b.key', ipns: 'yes' }
    })
    assert.deepEqual(found.get('b.example'), { way: 'none', options: {} })
  })

  it('reads the map of a settings file', () => {
    const folder = tempFolder()
    const file = join(folder.path, 'seaway.yaml')
    writeFileSync(
      file,
      'publishers:\n  a.example: {dns: exec, command: "./go a=b, c", ipns: true}\n  b.example: none\n'
    )
    try {
      const { publishers } = readConfig({ flags: {}, env: {}, file })
      assert.deepEqual(publishers.get('a.example'), {
        way: 'exec',
        options: { command: './go a=b, c', ipns: 'yes' }
      })
      assert.deepEqual(publishers.get('b.example'), { way: 'none', options: {} })
    } finally {
      rmSync(folder.path, { recursive: true })
    }
  })

  it('says what is wrong', () => {
    for (const [text, message] of [
      ['a.example', /'a.example' is not DOMAIN=WAY/],
      ['local=none', /'local' is not a domain/],
      ['a.example=rfc2136?key', /'key' is not OPTION=VALUE/],
      ['a.example=exec?command=%zz', /% that encodes nothing/]
    ] as const)
      assert.throws(() => read(text), message)
  })
})
