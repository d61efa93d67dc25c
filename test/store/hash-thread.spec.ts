import assert from 'node:assert/strict'
import { execFile } from 'node:child_process'
import { promisify } from 'node:util'

const SRC = new URL('../../src/store/', import.meta.url)

describe('hash thread', () => {
  it('keeps no process alive that asks nothing of it', async () => {
    // the first leaf starts it, and is hashed elsewhere meanwhile
    const program = `
      const { leafSha256 } = await import('${new URL('hash-thread.ts', SRC)}')
      const { borrowLeaf } = await import('${new URL('leaf-pool.ts', SRC)}')
      if (leafSha256(borrowLeaf(), 1000) !== undefined) throw new Error('it was hashed there')
      console.log('done')`
    const args = ['--input-type=module', '--eval', program]
    const { stdout } = await promisify(execFile)(process.execPath, args, { timeout: 30_000 })
    assert.equal(stdout, 'done\n')
  })
})
