/** `seaway pin` as people use it: through the gateway that runs, and alone. */
import assert from 'node:assert/strict'
import { join } from 'node:path'
import { ociClient } from '../support/oci-client.ts'
import { runCommand } from '../support/seaway-command.ts'
import { startSeaway } from '../support/seaway-process.ts'
import { tempFolder } from '../support/temp.ts'

describe('seaway pin', function () {
  this.timeout(120_000)
  const folder = tempFolder()
  const data = join(folder.path, 'data')
  after(() => folder.remove())

  const seaway = (...args: string[]) =>
    runCommand(args, { SEAWAY_DATA: data, SEAWAY_GC_GRACE: '0s', SEAWAY_KEEP_ROOTS: '0' })
  const json = async (...args: string[]) => JSON.parse((await seaway(...args, '--json')).stdout)

  it('keeps a root through gc, with the gateway running and without, until it is removed', async () => {
    const gateway = await startSeaway({
      data,
      env: { SEAWAY_GC_GRACE: '0s', SEAWAY_KEEP_ROOTS: '0', SEAWAY_PUSH_BASE: 'empty' }
    })
    const client = ociClient({ port: Number(new URL(gateway.url).port) })
    await client.image('pin.example/app', '1')
    const root = await gateway.root('pin.example')
    const added = await seaway('pin', 'add', 'pin.example')
    assert.match(added.stdout, new RegExp(`^pinned ${root}: 3 blobs, \\S+ k?B\n$`))
    await client.expect(202, 'DELETE', '/v2/pin.example/app/manifests/1')
    assert.equal((await json('gc', '--dry-run')).freed.blobs, 0)
    await client.expect(200, 'GET', `/v2/ipfs/${root}/app/manifests/1`)
    await gateway.stop()

    assert.equal((await json('gc')).freed.blobs, 0)
    const listed = await seaway('pin', 'ls')
    assert.match(listed.stdout, new RegExp(`^PINNED AS +SINCE +ROOT\npin.example +\\S+ +${root}\n$`))
    assert.equal((await json('pin', 'rm', 'pin.example')).root, root)
    assert.deepEqual(await json('pin', 'ls'), [])
    assert.equal((await json('gc')).freed.blobs, 3)
  })

  it('says what is wrong: status 2 for bad usage, 1 for what is not there', async () => {
    for (const [args, status, message] of [
      [['keep', 'x'], 2, /'keep' is no action; add, ls, rm are/],
      [['add'], 2, /pin add needs a root/],
      [['ls', 'x'], 2, /takes no root/],
      [['rm', 'none.example'], 1, /none\.example is not pinned/]
    ] as const) {
      const outcome = await seaway('pin', ...args)
      assert.equal(outcome.status, status, outcome.stderr)
      assert.match(outcome.stderr, message)
      assert.match(outcome.stderr, /^seaway: [^\n]*\n$/)
    }
  })
})
