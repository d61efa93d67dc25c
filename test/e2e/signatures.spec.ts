/**
 * Signatures with real programs: notation signs here; what cosign signed is as it was recorded, and cosign itself
 * signs where it is installed (it takes minutes to build: scripts/install-peers.sh cosign). skopeo, crane and docker pull.
 */
import assert from 'node:assert/strict'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { ociClient } from '../support/oci-client.ts'
import { digestOfImage, pushRecorded, writePolicy } from '../support/signed-images.ts'
import { useBed } from './support/bed.ts'
import { startBind } from './support/bind.ts'
import { type Client, crane, docker, skopeo } from './support/clients.ts'
import { startDocker } from './support/docker.ts'
import type { SeawayGateway } from './support/gateway.ts'
import { type Image, makeImage } from './support/images.ts'
import { available, run, which } from './support/process.ts'

const POLICY = `rules:
  - {repositories: "ships.example/c/**", cosign: ours.pub}
  - {repositories: "ships.example/n/**", notation: {trust: notation}}
  - {repositories: "ships.example/live/**", cosign: live/cosign.pub}
  - {repositories: "ships.example/gate/**", at: [pull, push], notation: {trust: notation}}
`

describe('signed images', function () {
  this.timeout(120_000)
  const { folder, keep, gateway } = useBed('signatures')
  const env = { HOME: folder('home'), COSIGN_PASSWORD: '' }
  /** Asks for nothing, and publishes what was pushed. */
  let ships: SeawayGateway
  /** Pulls it, and asks for signatures. */
  let gate: SeawayGateway
  let pullers: Client[]
  let engine: Client
  let image: Image
  let policy: string

  const digestIn = async ({ host }: SeawayGateway, reference: string): Promise<string> =>
    (await run('crane', ['digest', '--insecure', `${host}/${reference}`])).stdout.trim()
  const copied = async (name: string): Promise<string> => {
    await pullers[0]?.push(image, `${ships.host}/ships.example/${name}:1`)
    return `${ships.host}/ships.example/${name}@${await digestIn(ships, `ships.example/${name}:1`)}`
  }
  const notation = (...args: string[]) => run('notation', args, { env })
  async function refused(reference: string, why: RegExp, by = pullers): Promise<void> {
    for (const client of by)
      await assert.rejects(client.pull(`${gate.host}/ships.example/${reference}`), (error: Error) => {
        assert.match(error.message, why, client.name)
        return true
      })
  }
  async function pulled(reference: string, by = pullers): Promise<void> {
    for (const client of by) await client.pull(`${gate.host}/ships.example/${reference}`)
  }

  before(async function () {
    if (!available('named', 'skopeo', 'crane', 'dockerd', 'notation')) this.skip()
    await mkdir(folder('policy/live'), { recursive: true })
    await mkdir(folder('home'), { recursive: true })
    await notation('cert', 'generate-test', '--default', 'ships')
    await mkdir(folder('policy/notation'))
    await run('cp', [folder('home/.config/notation/localkeys/ships.crt'), folder('policy/notation')])
    const cosign = which('cosign') !== undefined
    if (cosign) await run('cosign', ['generate-key-pair'], { env, cwd: folder('policy/live') })
    const rules = cosign ? POLICY : POLICY.replace(/^.*live.*\n/m, '')
    policy = writePolicy(folder('policy'), rules)
    const bind = keep(await startBind({ dir: folder('dns'), zones: { 'ships.example': [] } }))
    ships = await gateway('ships', { dns: bind.server })
    const client = ociClient({ port: Number(new URL(ships.url).port) })
    for (const each of ['unsigned', 'tagged', 'bundled', 'theirs', 'index'] as const)
      await pushRecorded(client, `ships.example/c/${each}`, each)
    pullers = [await skopeo({ dir: folder('skopeo') }), await crane({ dir: folder('crane') })]
    engine = docker(keep(await startDocker({ dir: folder('d') })))
    image = await makeImage({ dir: folder('image'), name: 'app:1', layers: [{ size: 100_000, seed: 'app' }] })
    await notation('sign', '--insecure-registry', await copied('n/signed'))
    await copied('n/unsigned')
    if (cosign) {
      const sign = [
        'sign',
        '--key',
        'cosign.key',
        '--yes',
        '--use-signing-config=false',
        '--tlog-upload=false'
      ]
      const signs = (...args: string[]) =>
        run('cosign', [...sign, '--allow-insecure-registry', ...args], { env, cwd: folder('policy/live') })
      await signs('--new-bundle-format=false', await copied('live/tagged'))
      await signs(await copied('live/bundled'))
      await copied('live/unsigned')
    }
    await bind.setLines('ships.example', await ships.records('ships.example'))
    gate = await gateway('gate', {
      dns: bind.server,
      env: {
        SEAWAY_VERIFY_SIGNATURE: policy,
        SEAWAY_AUDIT_LOG: folder('audit.log'),
        SEAWAY_PEERS: ships.peers.join(',')
      }
    })
  })

  it('of a published domain are pulled by skopeo, crane and docker where cosign signed them', async () => {
    await pulled('c/tagged:1', [...pullers, engine])
    await pulled(`c/bundled@${digestOfImage('bundled')}`)
  })

  it('and refused to them where nobody did, or with another key', async () => {
    const why = /rule 1 of the gateway's signature policy wants a signature by cosign/
    await refused('c/unsigned:1', why, [...pullers, engine])
    await refused(`c/unsigned@${digestOfImage('unsigned')}`, /and there is none/)
    await refused('c/theirs:1', /it was made with another key/)
    assert.match(await readFile(folder('audit.log'), 'utf8'), /"event":"refused".*c\/theirs:1/)
  })

  it('a signed index is copied with all of its images', async () => {
    const from = `docker://${gate.host}/ships.example/c/index:1`
    await pullers[0]?.run(['copy', '--all', '--src-tls-verify=false', from, `oci:${folder('all')}:1`])
  })

  it('signed by notation are pulled, others are not', async () => {
    await pulled('n/signed:1')
    await refused('n/unsigned:1', /rule 2 of .* by notation, and there is none/)
  })

  if (which('cosign') !== undefined)
    it('signed by cosign just now are pulled, in both of its ways', async () => {
      await pulled('live/tagged:1')
      await pulled('live/bundled:1')
      await refused('live/unsigned:1', /there is none/)
    })

  it('pushed are tagged once they are signed, and not before', async () => {
    const [client] = pullers as [Client]
    const there = `${gate.host}/ships.example/gate/app`
    await assert.rejects(client.push(image, `${there}:1`), /push it by its digest, sign .* and tag it then/)
    // signed where nothing is asked for, and copied with its signature
    const signed = await copied('staging/app')
    await notation('sign', '--insecure-registry', signed)
    const digest = signed.slice(signed.indexOf('@') + 1)
    const open = ['--src-tls-verify=false', '--dest-tls-verify=false']
    await client.run([
      'copy',
      ...open,
      '--preserve-digests',
      `docker://${signed}`,
      `docker://${there}@${digest}`
    ])
    const list = digest.replace(':', '-')
    await run('crane', ['copy', '--insecure', `${signed.split('@')[0]}:${list}`, `${there}:${list}`])
    await run('crane', ['copy', '--insecure', signed, `${there}:1`])
    await pulled('gate/app:1')
  })

  it('a policy with a file that is not there keeps the gateway from starting', async () => {
    const missing = writePolicy(folder('policy'), 'rules: [{repositories: a, cosign: gone.pub}]')
    const { status, stderr } = await gate.seaway(
      ['serve', '--verify-signature', missing, '--data', folder('none')],
      {
        allowFailure: true
      }
    )
    assert.equal(status, 1)
    assert.match(stderr, new RegExp(`${join(folder('policy'), 'gone.pub')}: ENOENT`))
    assert.equal(stderr.trim().split('\n').length, 1)
  })
})
