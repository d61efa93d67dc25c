/** What a start loads: commands that ask the running gateway should be there at once. */
import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import { join } from 'node:path'

const MAIN = join(import.meta.dirname, '../../src/main.js')

/** Prints what was loaded, on stderr, at the end. */
const HOOK = `data:text/javascript,${encodeURIComponent(`
  import { registerHooks } from 'node:module'
  const loaded = []
  registerHooks({ load: (url, context, next) => (loaded.push(url), next(url, context)) })
  process.on('exit', () => process.stderr.write(loaded.join('\\n')))
`)}`

describe('a start', function () {
  this.timeout(30_000)

  it('loads nothing of libraries that only the work of few commands needs', () => {
    const { stderr } = spawnSync(process.execPath, ['--import', HOOK, MAIN, '--help'], { encoding: 'utf8' })
    assert.ok(stderr.includes('commander'), stderr)
    const libraries = new Set(
      [...stderr.matchAll(/node_modules\/((?:@[^/\n]+\/)?[^/\n]+)/g)].map(([, name]) => name)
    )
    for (const heavy of [
      'undici',
      'zod',
      'yaml',
      'jose',
      'helia',
      'libp2p',
      '@libp2p/kad-dht',
      'tar-stream',
      'koa'
    ])
      assert.ok(!libraries.has(heavy), `${heavy} is loaded`)
  })
})
