import assert from 'node:assert/strict'
import { readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { acmeFolder } from '../../src/tls/stored.ts'
import { CERTIFICATE, KEY } from '../support/certificate.ts'
import { tempFolder } from '../support/temp.ts'

describe('what is kept of an authority', () => {
  const temp = tempFolder()
  const directory = 'https://authority.example/directory'
  after(() => temp.remove())

  it('is a certificate with its key, in one file that its owner alone can read', async () => {
    const kept = acmeFolder(temp.path, directory)
    assert.equal(await kept.pair(), undefined)
    await kept.keep({ cert: CERTIFICATE, key: KEY })
    const pair = await acmeFolder(temp.path, directory).pair()
    assert.deepEqual([pair?.cert, pair?.key], [CERTIFICATE, KEY])
    const [folder = ''] = await readdir(temp.path)
    const path = join(temp.path, folder, 'certificate.pem')
    assert.equal((await stat(path)).mode & 0o777, 0o600)
    await writeFile(path, (await readFile(path, 'utf8')).slice(0, 700))
    assert.equal(await acmeFolder(temp.path, directory).pair(), undefined)
  })

  it('is an account whose key is made once', async () => {
    let made = 0
    const make = async () => `key ${++made}`
    for (const _ of [1, 2]) assert.equal(await acmeFolder(temp.path, directory).accountKey(make), 'key 1')
    const other = acmeFolder(temp.path, 'https://authority.example/staging')
    assert.equal(await other.accountKey(make), 'key 2')
  })
})
