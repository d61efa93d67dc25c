import assert from 'node:assert/strict'
import { ConfigError, readConfig } from '../src/config.ts'
import { admissionTerms, dialRules, domainRules } from '../src/terms.ts'

/** Reachable by others. */
const OPEN = { SEAWAY_LISTEN: '0.0.0.0:5000', SEAWAY_ALLOW_ANONYMOUS_PUSH: 'yes' }

describe('what strangers may do, by the settings', () => {
  const read = (env: Record<string, string>) => readConfig({ flags: {}, env })

  it('any address is dialled on loopback, and beyond it public ones', () => {
    const bases: [Record<string, string>, 'any' | 'public'][] = [
      [{}, 'any'],
      [{ SEAWAY_LISTEN: '127.8.8.8:1' }, 'any'],
      [OPEN, 'public'],
      [{ ...OPEN, SEAWAY_LISTEN: '127.example.com:5000' }, 'public'],
      [{ ...OPEN, SEAWAY_ALLOW_PRIVATE_PEERS: 'yes' }, 'any'],
      // what others ask for on the seed port is only fetched where that is said
      [{ SEAWAY_SEED_LISTEN: '0.0.0.0:8080' }, 'any'],
      [{ SEAWAY_SEED_LISTEN: '0.0.0.0:8080', SEAWAY_GATEWAY_FETCH: 'yes' }, 'public'],
      [{ SEAWAY_SEED_LISTEN: '127.0.0.1:8080', SEAWAY_GATEWAY_FETCH: 'yes' }, 'any']
    ]
    for (const [env, base] of bases)
      assert.deepEqual(dialRules(read(env)), { base, allow: [], deny: [] }, JSON.stringify(env))
    const ranges = { SEAWAY_ALLOW_DIAL: '10.0.0.0/8, fd00::1', SEAWAY_DENY_DIAL: '192.0.2.1' }
    assert.deepEqual(dialRules(read({ ...OPEN, ...ranges })), {
      base: 'public',
      allow: ['10.0.0.0/8', 'fd00::1'],
      deny: ['192.0.2.1']
    })
  })

  it('requests are counted beyond loopback, unless something else is set', () => {
    const rate = (env: Record<string, string>) => admissionTerms(read(env)).requestRate
    assert.deepEqual([rate({}), rate(OPEN)], [0, 100])
    assert.deepEqual(
      [rate({ SEAWAY_REQUEST_RATE: '7' }), rate({ ...OPEN, SEAWAY_REQUEST_RATE: '0' })],
      [7, 0]
    )
  })

  it('domains are named by globs, in whatever case they are written', () => {
    const { resolve, push } = domainRules(
      read({ SEAWAY_RESOLVE_ALLOW: 'Example.com, *.example.com.', SEAWAY_PUSH_DENY: '*.example.com' })
    )
    resolve.check('EXAMPLE.com.')
    resolve.check('a.b.example.com')
    push.check('example.com')
    push.check('local')
    const denied = { code: 'DENIED', status: 403 }
    assert.throws(() => resolve.check('example.org'), {
      ...denied,
      message: /example\.org .*SEAWAY_RESOLVE_ALLOW/
    })
    assert.throws(() => resolve.check('badexample.com'), denied)
    assert.throws(() => push.check('a.Example.com'), {
      ...denied,
      message: /a\.example\.com .*SEAWAY_PUSH_DENY/
    })
  })

  it('says what is wrong', () => {
    for (const [env, message] of [
      [{ SEAWAY_ALLOW_DIAL: '10.0.0.0/33' }, /'10\.0\.0\.0\/33' is no range/],
      [{ SEAWAY_TRUSTED_PROXIES: 'proxy.example' }, /'proxy\.example' is no range/],
      [{ SEAWAY_DENY_DIAL: 'fe80::1%eth0' }, /is no range/],
      [{ SEAWAY_PUSH_ALLOW: 'a b' }, /'a b' is no domain/],
      [{ SEAWAY_REQUEST_RATE: '-1' }, /a whole number/],
      [{ SEAWAY_CLIENT_RATE: '1KB' }, /a rate of at least/],
      [{ ...OPEN, SEAWAY_MDNS: 'yes' }, /SEAWAY_ALLOW_DIAL/]
    ] as const)
      assert.throws(
        () => read(env),
        (error) => error instanceof ConfigError && message.test(error.message),
        JSON.stringify(env)
      )
    assert.equal(read({ ...OPEN, SEAWAY_MDNS: 'yes', SEAWAY_ALLOW_DIAL: '192.168.0.0/16' }).mdns, true)
  })
})
