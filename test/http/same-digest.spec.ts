/** One file a digest, whoever sends it, at the same time or not, in whatever way. */
import assert from 'node:assert/strict'
import { randomBytes } from 'node:crypto'
import { readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { Readable } from 'node:stream'
import { digestOf, type OciClient, ociClient, withQuery } from '../support/oci-client.ts'
import { type RegistryServer, startRegistryServer } from '../support/registry-server.ts'

const MiB = 1024 * 1024

describe('uploads of one digest', () => {
  let server: RegistryServer
  let client: OciClient

  before(async () => {
    server = await startRegistryServer()
    client = ociClient(server)
  })
  after(() => server.stop())

  /** The names of all files of blobs. */
  async function files(): Promise<string[]> {
    const parts = await readdir(join(server.folder, 'blobs'))
    return (await Promise.all(parts.map((part) => readdir(join(server.folder, 'blobs', part))))).flat()
  }

  it('that go on at the same time in several ways and domains end as one', async () => {
    const bytes = randomBytes(3 * MiB + 77)
    const digest = digestOf(bytes)
    const names = ['a.example/app', 'b.example/app', 'b.example/other', 'plain']
    const before = await files()
    // All have sent all but the last bytes before any of them ends.
    const locations = await Promise.all(
      names.map(async (name) => {
        const begun = await client.begin(name)
        const { headers } = await client.expect(202, 'PATCH', begun, { body: bytes.subarray(0, 3 * MiB) })
        return String(headers.location)
      })
    )
    const ends = locations.map((location) =>
      client.expect(201, 'PUT', withQuery(location, `digest=${digest}`), { body: bytes.subarray(3 * MiB) })
    )
    const once = names.map((name) =>
      client.expect(201, 'POST', `/v2/${name}/blobs/uploads/?digest=${digest}`, {
        body: Readable.from([bytes])
      })
    )
    await Promise.all([...ends, ...once])
    for (const name of names)
      assert.ok((await client.expect(200, 'GET', `/v2/${name}/blobs/${digest}`)).body.equals(bytes))
    assert.deepEqual(
      (await files()).filter((name) => !before.includes(name)),
      [digest.slice(7)]
    )
    assert.deepEqual(await server.store.incoming.list(), [])
  })

  it('of which one has other bytes: that one is refused, and the blob is whole', async () => {
    const bytes = randomBytes(2 * MiB)
    const digest = digestOf(bytes)
    const other = Buffer.from(bytes)
    other[MiB] = (other[MiB] ?? 0) ^ 1
    const answers = await Promise.all(
      [bytes, other, bytes, other].map((body) =>
        client.call('POST', `/v2/mixed/blobs/uploads/?digest=${digest}`, { body })
      )
    )
    assert.deepEqual(
      answers.map(({ status }) => status),
      [201, 400, 201, 400]
    )
    assert.ok((await client.expect(200, 'GET', `/v2/mixed/blobs/${digest}`)).body.equals(bytes))
    assert.deepEqual(await server.store.incoming.list(), [])
  })

  it('are read while the next one ends, and after it', async () => {
    const bytes = randomBytes(4 * MiB)
    const digest = digestOf(bytes)
    await client.blob('read', bytes)
    const reads = Array.from({ length: 4 }, () => client.expect(200, 'GET', `/v2/read/blobs/${digest}`))
    const writes = Array.from({ length: 4 }, () => client.blob('again', bytes))
    for (const { body } of await Promise.all(reads)) assert.ok(body.equals(bytes))
    await Promise.all(writes)
    assert.ok((await client.expect(200, 'GET', `/v2/again/blobs/${digest}`)).body.equals(bytes))
  })
})
