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

/** The URLs of what a command line loads. */
function loadedBy(...args: readonly string[]): string[] {
  const { stderr } = spawnSync(process.execPath, ['--import', HOOK, MAIN, ...args], { encoding: 'utf8' })
  assert.ok(stderr.includes('commander'), stderr)
  return stderr.split('\n')
}

describe('a start', function () {
  this.timeout(30_000)

  it('loads no other command than the one that is called', () => {
    const loaded = loadedBy('root', '--help')
    const commands = ['root', 'images', 'push', 'serve', 'doctor', 'completion']
    const found = commands.filter((name) => loaded.some((url) => url.endsWith(`/src/cli/${name}.ts`)))
    assert.deepEqual(found, ['root'])
  })

  it('loads nothing of libraries that only the work of few commands needs', () => {
    const libraries = new Set(
      loadedBy('--help').map((url) => /node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(url)?.[1] ?? '')
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
