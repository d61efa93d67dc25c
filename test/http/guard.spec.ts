/** What the guard does to who guesses, to who asks for what is private, and where it asks for passwords alone. */
import assert from 'node:assert/strict'
import { setTimeout as sleep } from 'node:timers/promises'
import { rawCid } from '../../src/store/index.ts'
import { type AuthServer, basic, pushAs, startAuthServer } from '../support/auth.ts'

const USERS = { alice: 'secret', bob: 'builder', carol: 'pass' }
const alice = basic('alice', 'secret')

describe('what is private', () => {
  for (const fetchMs of [undefined, 2000]) {
    it(`is not had by CID where peers get nothing${fetchMs === undefined ? '' : ', and others’ content is fetched for them'}`, async () => {
      const auth = await startAuthServer({ server: { seed: 'none', ...(fetchMs && { fetchMs }) } })
      try {
        const { blob } = await pushAs(auth, alice, 'app', '1')
        const root = String(await auth.server.registry.root('local'))
        const leaf = rawCid(Buffer.from(blob.slice(7), 'hex')).toString()
        for (const cid of [root, leaf]) {
          for (const path of [`/ipfs/${cid}?format=raw`, `/ipfs/${cid}?format=car`]) {
            const answer = await auth.as(undefined, 'GET', path)
            assert.equal(answer.status, 404, path)
          }
        }
        assert.equal((await auth.as(undefined, 'GET', `/ipfs/${root}/docker?format=car`)).status, 404)
        assert.equal((await auth.as(undefined, 'GET', `/v2/ipfs/${root}/app/manifests/1`)).status, 401)
      } finally {
        await auth.stop()
      }
    })
  }
})

describe('guessing passwords', () => {
  let auth: AuthServer
  before(async () => {
    auth = await startAuthServer({ users: USERS })
  })
  after(() => auth?.stop())

  it('is told to wait, while who has logged in goes on', async () => {
    assert.equal((await auth.as(alice, 'GET', '/v2/')).status, 200)
    const statuses: number[] = []
    for (let i = 0; i < 14; i++)
      statuses.push((await auth.as(basic('alice', `guess ${i}`), 'GET', '/v2/')).status)
    assert.deepEqual(statuses.slice(0, 11), Array(11).fill(401))
    const answer = await auth.token([], basic('bob', 'guess'))
    assert.equal(answer.status, 429)
    assert.ok(Number(answer.headers['retry-after']) > 0)
    assert.equal(answer.code, 'TOOMANYREQUESTS')
    // what was right a moment ago costs no check
    assert.equal((await auth.as(alice, 'GET', '/v2/')).status, 200)
  })

  it('gains nothing by doing it all at once', async () => {
    const asked = await auth.as(basic('carol', 'begins'), 'GET', '/v2/')
    await sleep(Number(asked.headers['retry-after'] ?? 0) * 1000)
    const guesses = Array.from({ length: 40 }, (_, i) => auth.as(basic('carol', `guess ${i}`), 'GET', '/v2/'))
    const tried = (await Promise.all(guesses)).filter(({ status }) => status === 401)
    assert.ok(tried.length <= 1, `${tried.length} of 40 passwords were tried`)
  })
})

describe('asking for passwords instead of tokens', () => {
  let auth: AuthServer
  before(async () => {
    auth = await startAuthServer({ scheme: 'basic', settings: { anonymousPull: true } })
  })
  after(() => auth?.stop())

  it('is said in the challenge; both are taken', async () => {
    const asked = await auth.as(undefined, 'GET', '/v2/')
    assert.equal(asked.status, 401)
    assert.equal(asked.headers['www-authenticate'], 'Basic realm="Seaway", charset="UTF-8"')
    await pushAs(auth, alice, 'app', '1')
    const token = await auth.bearer(['repository:app:pull'], alice)
    for (const who of [alice, token, undefined])
      assert.equal((await auth.as(who, 'GET', '/v2/app/manifests/1')).status, 200)
  })
})
