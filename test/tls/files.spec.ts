import assert from 'node:assert/strict'
import { rm, writeFile } from 'node:fs/promises'
import { createLog } from '../../src/log.ts'
import { fileIdentity, namesOf } from '../../src/tls/index.ts'
import { CERTIFICATE, KEY } from '../support/certificate.ts'
import { OTHER, type TestIdentity, testIdentity } from '../support/identity.ts'

describe('a certificate out of files', () => {
  let files: TestIdentity

  beforeEach(async () => {
    files = await testIdentity()
  })
  afterEach(() => files.stop())

  const changed = () =>
    new Promise<string>((resolve) => files.identity.onChange((pair) => resolve(namesOf(pair).dns.join())))

  async function until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise((wait) => setTimeout(wait, 10))
  }

  it('is read again when another one takes its place', async () => {
    const now = changed()
    await files.replace(OTHER)
    assert.equal(await now, 'new.example,localhost')
    assert.equal(files.identity.trouble, undefined)
  })

  it('stays when what takes its place is no good, until something good does', async () => {
    const before = files.identity.pair
    await files.replace({ key: OTHER.key })
    await until(() => files.identity.trouble !== undefined)
    assert.match(files.identity.trouble ?? '', /the key does not belong to its first certificate/)
    assert.equal(files.identity.pair, before)
    const now = changed()
    await files.replace(OTHER)
    assert.equal(await now, 'new.example,localhost')
    assert.equal(files.identity.trouble, undefined)
  })

  it('stays when a file goes away', async () => {
    const before = files.identity.pair
    await rm(files.cert)
    await until(() => files.identity.trouble !== undefined)
    assert.match(files.identity.trouble ?? '', /SEAWAY_TLS_CERT is .*cert.pem, which cannot be read/)
    assert.equal(files.identity.pair, before)
  })

  it('is refused at the start with what is wrong with it', async () => {
    const encrypted = KEY.replaceAll('PRIVATE', 'ENCRYPTED PRIVATE')
    for (const [cert, key, message] of [
      [undefined, KEY, /SEAWAY_TLS_CERT is .*cert.pem, which cannot be read/],
      [CERTIFICATE, undefined, /SEAWAY_TLS_KEY is .*key.pem, which cannot be read/],
      ['', KEY, /there is no certificate in PEM form/],
      [KEY, KEY, /there is no certificate in PEM form/],
      [CERTIFICATE, CERTIFICATE, /there is no private key in PEM form/],
      [CERTIFICATE, encrypted, /protected by a passphrase/],
      [CERTIFICATE, OTHER.key, /the key does not belong to its first certificate/],
      [CERTIFICATE.replace('MII', 'AAA'), KEY, /cannot be used/]
    ] as const) {
      for (const [path, text] of [
        [files.cert, cert],
        [files.key, key]
      ] as const) {
        if (text === undefined) await rm(path)
        else await writeFile(path, text)
      }
      const options = { cert: files.cert, key: files.key, log: createLog('silent') }
      await assert.rejects(fileIdentity(options), { code: 'UNAVAILABLE', message })
    }
  })
})
