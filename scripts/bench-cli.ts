/**
 * `npm run bench:cli`: push and pull by the command line, Seaway beside `docker push` and `docker pull`, `skopeo copy`
 * and `crane`, all against the same running gateway, alternating in one run, medians of five. An image of ten layers:
 *
 * - cold: the other side has nothing of it, and nothing is remembered
 * - warm: the other side has all of it
 * - changed: one small layer on top is new
 *
 * Seaway is there twice, with gzip, which is its standard, and with zstd. crane knows no engine: its pushes are of an archive that `docker save` wrote before (not counted), its pulls write
 * one, and don't count for the goal. Times include the start of each program.
 *
 * Below the table stands what none of Seaway's moves can do without: the engine's export of an image, of which nothing
 * comes before all of it is on the engine's disk, and the start of its own program.
 *
 * `--layers N --size BYTES` sets the image, `--rounds N` the medians.
 */
import { rm } from 'node:fs/promises'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { type DockerEngine, startDocker } from '../test/e2e/support/docker.ts'
import { forgetImages } from '../test/e2e/support/engine-clients.ts'
import { type SeawayGateway, startGateway } from '../test/e2e/support/gateway.ts'
import { type Image, makeImage } from '../test/e2e/support/images.ts'
import { available, run, tempDir } from '../test/e2e/support/process.ts'

const { values } = parseArgs({
  options: {
    layers: { type: 'string', default: '10' },
    size: { type: 'string', default: '8000000' },
    rounds: { type: 'string', default: '5' }
  }
})
const LAYERS = Number(values.layers)
const SIZE = Number(values.size)
const ROUNDS = Number(values.rounds)

/** The most that a repeat push of an image with one small change may take, in milliseconds. */
const CHANGED_MS = 1000

interface Tool {
  readonly name: string
  /** Moves the engine's image to a repository of the gateway. */
  push(image: string, repository: string): Promise<unknown>
  /** Moves it into what the tool pulls into, if that takes it. */
  readonly pull?: (repository: string) => Promise<unknown>
  /** Takes what was pulled away. */
  forget(): Promise<unknown>
  /** Takes away what is remembered between pushes. */
  unlearn?(): Promise<unknown>
}

const median = (times: readonly number[]): number => times.toSorted((a, b) => a - b)[times.length >> 1] ?? 0

/** How long something takes, in ms. */
async function taken(work: () => Promise<unknown>): Promise<number> {
  const start = performance.now()
  await work()
  return performance.now() - start
}

/** Text that shrinks to about a half, as what is in images does: words out of a few thousand. */
function content(seed: string): string {
  let state = Buffer.from(seed).reduce((sum, each) => sum * 31 + each, 7) >>> 0
  const next = () => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0
    return state
  }
  const words = Array.from({ length: 4000 }, () => next().toString(36) + next().toString(36).slice(0, 3))
  const parts: string[] = []
  for (let length = 0; length < SIZE; ) {
    const word = words[next() % words.length] as string
    parts.push(word)
    length += word.length + 1
  }
  return parts.join(' ')
}

async function measure(engine: DockerEngine, gateway: SeawayGateway, folder: string): Promise<void> {
  const at = (repository: string) => `${gateway.host}/${repository}:1`
  const archive = join(folder, 'crane.tar')
  const own = ['gzip', 'zstd'].map(
    (kind): Tool => ({
      name: kind === 'gzip' ? 'seaway' : kind,
      push: (image, repository) =>
        gateway.seaway([
          'push',
          image,
          '--name',
          `${repository}:1`,
          '--compression',
          kind,
          '--docker-host',
          engine.host
        ]),
      // engines before Docker 23 unpack no zstd
      ...(kind === 'gzip' && {
        pull: (repository: string) =>
          gateway.seaway(['pull', `${repository}:1`, '--docker-host', engine.host])
      }),
      forget: () => forgetImages(engine),
      unlearn: () => rm(join(gateway.data, 'layers'), { recursive: true, force: true })
    })
  )
  const docker: Tool = {
    name: 'docker',
    async push(image, repository) {
      await engine.docker(['tag', image, at(repository)])
      await engine.docker(['push', '--quiet', at(repository)])
    },
    pull: (repository) => engine.docker(['pull', '--quiet', at(repository)]),
    forget: () => forgetImages(engine)
  }
  const host = ['--src-daemon-host', engine.host]
  const skopeo: Tool = {
    name: 'skopeo',
    push: (image, repository) =>
      run('skopeo', [
        'copy',
        '--quiet',
        '--dest-tls-verify=false',
        ...host,
        `docker-daemon:${image}`,
        `docker://${at(repository)}`
      ]),
    pull: (repository) =>
      run('skopeo', [
        'copy',
        '--quiet',
        '--src-tls-verify=false',
        '--dest-daemon-host',
        engine.host,
        `docker://${at(repository)}`,
        `docker-daemon:${repository}:1`
      ]),
    forget: () => forgetImages(engine)
  }
  const crane: Tool = {
    name: 'crane',
    push: (image, repository) =>
      run('crane', ['push', '--insecure', join(folder, `${image.replace(':', '-')}.tar`), at(repository)]),
    pull: (repository) => run('crane', ['pull', '--insecure', at(repository), archive]),
    forget: () => rm(archive, { force: true })
  }
  const tools = [...own, docker, skopeo, crane]
  const times = new Map<string, Map<string, number[]>>()
  const parts: Record<'export' | 'start', number[]> = { export: [], start: [] }
  const time = async (kind: string, tool: Tool, work: () => Promise<unknown>) => {
    const ms = await taken(work)
    const row = times.get(kind) ?? new Map<string, number[]>()
    row.set(tool.name, [...(row.get(tool.name) ?? []), ms])
    times.set(kind, row)
  }

  for (let round = 0; round < ROUNDS; round++) {
    const order = tools.map((_, i) => tools[(i + round) % tools.length] as Tool)
    for (const tool of order) {
      // images of their own each time: nothing of them is anywhere
      const id = `${tool.name}${round}`
      const base = await makeImage({
        dir: join(folder, id),
        name: `${id}:1`,
        layers: Array.from({ length: LAYERS - 1 }, (_, i) => ({
          files: { [`f${i}`]: content(`${id} ${i}`) }
        }))
      })
      const made: string[] = []
      for (const [n, text] of ['first', 'second'].entries()) {
        const name = `${id}-${n}:1`
        const image = await makeImage({
          dir: join(folder, `${id}-${n}`),
          name,
          base,
          layers: [{ files: { small: text } }]
        })
        await engine.docker(['load', '--input', await image.archive()])
        if (tool === crane)
          await engine.docker(['save', '--output', join(folder, `${name.replace(':', '-')}.tar`), name])
        made.push(name)
      }
      const [first = '', second = ''] = made
      const repository = `bench/${id}`
      if (tool === docker) {
        parts.export.push(
          await taken(() => run('sh', ['-c', 'docker save "$0" > /dev/null', first], { env: engine.env }))
        )
        parts.start.push(await taken(() => gateway.seaway(['--version'])))
      }
      await tool.unlearn?.()
      await time('push cold', tool, () => tool.push(first, repository))
      await time('push warm', tool, () => tool.push(first, repository))
      await time('push changed', tool, () => tool.push(second, repository))
      const { pull } = tool
      if (pull !== undefined) await timePulls(tool, pull, { first, second, base, repository, id })
      await tool.forget()
      await forgetImages(engine)
      for (const name of [id, `${id}-0`, `${id}-1`])
        await rm(join(folder, name), { recursive: true, force: true })
    }
  }

  async function timePulls(
    tool: Tool,
    pull: NonNullable<Tool['pull']>,
    {
      first,
      second,
      base,
      repository,
      id
    }: Record<'first' | 'second' | 'repository' | 'id', string> & { base: Image }
  ): Promise<void> {
    await tool.push(first, repository)
    await forgetImages(engine)
    await tool.forget()
    await time('pull cold', tool, () => pull(repository))
    await time('pull warm', tool, () => pull(repository))
    // the engine has the first, the gateway the second
    await skopeo.push(first, `${repository}x`).catch(() => undefined)
    const { layout } = await makeImage({
      dir: join(folder, `${id}-1`),
      name: second,
      base,
      layers: [{ files: { small: 'second' } }]
    })
    await run('skopeo', [
      'copy',
      '--quiet',
      '--dest-tls-verify=false',
      `oci:${layout}`,
      `docker://${at(repository)}`
    ])
    await time('pull changed', tool, () => pull(repository))
  }

  console.log(
    `ten-layer image: ${LAYERS} layers, ${((LAYERS - 1) * SIZE) / 1e6} MB; medians of ${ROUNDS}, in ms\n`
  )
  console.log(`${''.padEnd(14)}${tools.map(({ name }) => name.padStart(9)).join('')}   goal`)
  for (const [kind, row] of times) {
    const medians = tools.map(({ name }) => median(row.get(name) ?? []))
    const [gzip = 0, zstd = 0, ...others] = medians
    // crane pulls into a file, which is no engine's work
    const best = Math.min(...(kind.startsWith('pull') ? others.slice(0, -1) : others))
    const goal = kind.endsWith('cold')
      ? `at most the fastest: ${(gzip / best).toFixed(2)} of its time${gzip <= best ? '' : ' (missed)'}${zstd > 0 ? `, with zstd ${(zstd / best).toFixed(2)}` : ''}`
      : kind === 'push changed'
        ? `under ${CHANGED_MS} ms${gzip < CHANGED_MS ? '' : ' (missed)'}`
        : ''
    console.log(
      `${kind.padEnd(14)}${medians.map((each) => (each === 0 ? '-' : each.toFixed(0)).padStart(9)).join('')}   ${goal}`
    )
  }
  const [all, start] = [median(parts.export), median(parts.start)]
  console.log(
    `\nof which the engine's export alone takes ${all.toFixed(0)} ms, and the start of seaway ${start.toFixed(0)} ms`
  )
}

if (!available('dockerd', 'docker', 'skopeo', 'crane')) process.exit(1)
const temp = tempDir('bench')
const engine = await startDocker({ dir: join(temp.path, 'e') })
const gateway = await startGateway({ dir: join(temp.path, 'g') })
try {
  await measure(engine, gateway, temp.path)
} finally {
  await gateway.stop()
  await engine.stop()
  await temp.remove()
}
