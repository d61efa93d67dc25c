/**
 * BuildKit's own daemon behind a gateway, with the file that `seaway setup buildkit` writes for it. Not part of CI, where
 * building the daemon takes too long: `npm run test:buildkit` does both. (CI has the BuildKit inside dockerd, and buildah.)
 */
import assert from 'node:assert/strict'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { useBed } from '../support/bed.ts'
import { type BuildKit, startBuildKit } from '../support/buildkit.ts'
import { skopeo } from '../support/clients.ts'
import type { SeawayGateway } from '../support/gateway.ts'
import { busyboxLayer, makeImage } from '../support/images.ts'
import { startRegistry } from '../support/registry.ts'
import { watchRequests } from '../support/requests.ts'
import { repository } from '../support/wire.ts'

describe('buildkitd', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('upbk')
  const NAMES = ['plain.example/team/base', 'docker.io/library/base'] as const
  let one: SeawayGateway
  let buildkit: BuildKit

  before(async () => {
    const registry = keep(await startRegistry({ dir: folder('registry') }))
    const publisher = await skopeo({ dir: folder('publisher') })
    for (const name of NAMES) {
      const layers = [busyboxLayer(), { files: { 'from.txt': `from ${name}\n` } }]
      const image = await makeImage({ dir: folder(name.replaceAll('/', '-')), name: 'base:1', layers })
      await publisher.push(image, `${registry.host}/${name.slice(name.indexOf('/') + 1)}:1`)
    }
    one = await gateway('one', {
      env: {
        SEAWAY_UPSTREAMS: `plain.example=${registry.url} published=no,docker.io=${registry.url}`,
        SEAWAY_LOG_LEVEL: 'info'
      }
    })
    const config = folder('buildkitd.toml')
    const where = ['--file', config, '--at', one.host, '--try', `${NAMES[0]}:1`]
    const { stdout } = await one.seaway(['setup', 'buildkit', '--write', ...where])
    assert.ok(stdout.startsWith(`${config} is written`), stdout)
    buildkit = keep(await startBuildKit({ dir: folder('b'), config }))
  })

  for (const name of NAMES)
    it(`builds on ${name} through its mirror, and pushes what it built`, async () => {
      const context = folder(`context-${NAMES.indexOf(name)}`)
      await mkdir(context)
      await writeFile(
        join(context, 'Dockerfile'),
        `FROM ${name}:1\nCOPY hello.txt /\nRUN ["/bin/busybox", "sh", "-c", "cat /from.txt /hello.txt > /both.txt && grep -q '${name}' /both.txt"]\n`
      )
      await writeFile(join(context, 'hello.txt'), 'hello\n')
      const built = `example.com/built${NAMES.indexOf(name)}`
      const seen = await watchRequests(one)
      await buildkit.buildctl([
        'build',
        '--frontend=dockerfile.v0',
        '--no-cache',
        `--local=context=${context}`,
        `--local=dockerfile=${context}`,
        `--output=type=image,name=${one.host}/${built}:1,push=true,registry.insecure=true`
      ])
      const asked = (await seen()).map(({ url }) => url)
      assert.ok(
        asked.some((url) => url.startsWith(`/v2/${name}/blobs/`)),
        asked.join('\n')
      )
      const digests = await repository(one.url, built).readImage('1')
      assert.ok(digests.length > 3)
    })
})
