/**
 * Records what the real cosign and notation write into a registry, for tests that run where cosign isn't built:
 *
 *   node scripts/record-signatures.ts > test/support/signed-images.json
 *
 * Needs cosign, notation, crane and openssl. Certificates are made to hold for a hundred years.
 */
import { execFile } from 'node:child_process'
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { ociClient } from '../test/support/oci-client.ts'
import { startRegistryServer } from '../test/support/registry-server.ts'
import { tempFolder } from '../test/support/temp.ts'

const temp = tempFolder()
const at = (name: string): string => join(temp.path, name)
const tools = process.env['SEAWAY_TOOLS'] ?? join(homedir(), '.cache/seaway-tools')
const env = {
  ...process.env,
  PATH: `${process.env['PATH']}:${tools}/bin`,
  HOME: temp.path,
  COSIGN_PASSWORD: ''
}
const run = async (command: string, ...args: string[]): Promise<string> =>
  (await promisify(execFile)(command, args, { env, cwd: temp.path })).stdout

/** A certificate authority, and a certificate of its that signs code. */
async function makeCertificates(): Promise<void> {
  const days = ['-days', '36500']
  const key = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes']
  writeFileSync(
    at('leaf.cnf'),
    'basicConstraints=critical,CA:false\nkeyUsage=critical,digitalSignature\nextendedKeyUsage=codeSigning\n'
  )
  const usage = ['-addext', 'keyUsage=critical,keyCertSign,cRLSign']
  await run(
    'openssl',
    'req',
    '-x509',
    ...key,
    ...days,
    ...usage,
    '-subj',
    '/C=US/O=Acme/CN=Acme CA',
    '-keyout',
    'ca.key',
    '-out',
    'ca.crt'
  )
  await run(
    'openssl',
    'req',
    ...key,
    '-subj',
    '/C=US/ST=WA/O=Acme/CN=Acme Releases',
    '-keyout',
    'leaf.key',
    '-out',
    'leaf.csr'
  )
  await run(
    'openssl',
    'x509',
    '-req',
    '-in',
    'leaf.csr',
    '-CA',
    'ca.crt',
    '-CAkey',
    'ca.key',
    '-CAcreateserial',
    ...days,
    '-extfile',
    'leaf.cnf',
    '-out',
    'leaf.crt'
  )
  writeFileSync(at('chain.crt'), readFileSync(at('leaf.crt'), 'utf8') + readFileSync(at('ca.crt'), 'utf8'))
  const folder = at('.config/notation')
  mkdirSync(folder, { recursive: true })
  const keys = [{ name: 'acme', keyPath: at('leaf.key'), certPath: at('chain.crt') }]
  writeFileSync(join(folder, 'signingkeys.json'), JSON.stringify({ default: 'acme', keys }))
}

/** What is read of lists and manifests. */
interface Listing {
  tags: string[]
  manifests: { digest: string }[]
}

const server = await startRegistryServer()
const client = ociClient(server)
const json = async (path: string) => (await client.expect(200, 'GET', path)).json<Listing>()

/** All that a repository has. */
async function dump(name: string) {
  const { tags } = await json(`/v2/${name}/tags/list`)
  const manifests = new Map<string, { mediaType: string; base64: string }>()
  const blobs = new Map<string, string>()
  const byTag: Record<string, string> = {}
  const take = async (reference: string): Promise<string> => {
    const { headers, body } = await client.expect(200, 'GET', `/v2/${name}/manifests/${reference}`)
    const digest = String(headers['docker-content-digest'])
    if (manifests.has(digest)) return digest
    const read = JSON.parse(body.toString())
    for (const child of read.manifests ?? []) await take(child.digest)
    for (const blob of [read.config, ...(read.layers ?? [])].filter(Boolean))
      blobs.set(
        blob.digest,
        (await client.expect(200, 'GET', `/v2/${name}/blobs/${blob.digest}`)).body.toString('base64')
      )
    // children first, as they are pushed
    manifests.set(digest, { mediaType: String(headers['content-type']), base64: body.toString('base64') })
    for (const { digest: one } of (await json(`/v2/${name}/referrers/${digest}`)).manifests) await take(one)
    return digest
  }
  for (const tag of tags) byTag[tag] = await take(tag)
  return { tags: byTag, blobs: [...blobs.values()], manifests: [...manifests.values()] }
}

const cosign = (command: string, key: string, image: string, ...more: string[]) =>
  run(
    'cosign',
    command,
    '--key',
    `${key}.key`,
    '--yes',
    '--use-signing-config=false',
    '--tlog-upload=false',
    '--allow-insecure-registry',
    ...more,
    image
  )

async function record(name: string, sign: (image: string) => Promise<unknown>, platforms = 1) {
  const repository = `${server.host}/${name}`
  for (let i = 1; i <= platforms; i++) {
    mkdirSync(at('layer'), { recursive: true })
    writeFileSync(at('layer/name'), `${name} ${i}\n`)
    await run('tar', '--mtime=@0', '-cf', 'layer.tar', '-C', at('layer'), 'name')
    await run(
      'crane',
      'append',
      '--insecure',
      '--oci-empty-base',
      '--new_layer',
      'layer.tar',
      '-t',
      `${repository}:${platforms > 1 ? `p${i}` : 1}`
    )
  }
  if (platforms > 1) {
    const parts = Array.from({ length: platforms }, (_, i) => ['-m', `${repository}:p${i + 1}`]).flat()
    await run('crane', 'index', 'append', '--insecure', ...parts, '-t', `${repository}:1`)
  }
  await sign(`${repository}@${(await run('crane', 'digest', '--insecure', `${repository}:1`)).trim()}`)
  return dump(name)
}

try {
  await makeCertificates()
  for (const key of ['ours', 'theirs']) await run('cosign', 'generate-key-pair', '--output-key-prefix', key)
  writeFileSync(at('predicate.json'), '{"built":"somewhere"}')
  const images = {
    unsigned: await record('unsigned', async () => undefined),
    tagged: await record('tagged', (image) => cosign('sign', 'ours', image, '--new-bundle-format=false')),
    bundled: await record('bundled', (image) => cosign('sign', 'ours', image)),
    theirs: await record('theirs', (image) => cosign('sign', 'theirs', image)),
    attested: await record('attested', (image) =>
      cosign('attest', 'ours', image, '--predicate', 'predicate.json', '--type', 'custom')
    ),
    index: await record('index', (image) => cosign('sign', 'ours', image), 2),
    jws: await record('jws', (image) => run('notation', 'sign', '--insecure-registry', image)),
    cose: await record('cose', (image) =>
      run('notation', 'sign', '--signature-format', 'cose', '--insecure-registry', image)
    )
  }
  const made = {
    by: [await run('cosign', 'version', '--json'), await run('notation', 'version')].map(
      (said) => /v?\d+\.\d+\.\d+/.exec(said)?.[0]
    )
  }
  const files = Object.fromEntries(
    ['ours.pub', 'theirs.pub', 'ca.crt', 'leaf.crt'].map((file) => [file, readFileSync(at(file), 'utf8')])
  )
  process.stdout.write(`${JSON.stringify({ ...made, files, images }, undefined, 2)}\n`)
} finally {
  await server.stop()
  await temp.remove()
}
