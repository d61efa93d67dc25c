/**
 * `npm run test:conformance`: the official suite of the OCI distribution specification against a gateway
 * of its own on a free port, and against one that asks for users. Its reports (HTML, JUnit) are kept in .ci-output/conformance/.
 *
 * The suite is a Go program that `scripts/install-peers.sh conformance` builds; without it this says so, and
 * ends with status 0, or with 1 in CI.
 *
 * @see https://github.com/opencontainers/distribution-spec/tree/main/conformance
 */
import { existsSync } from 'node:fs'
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { type SeawayGateway, startGateway } from '../test/e2e/support/gateway.ts'
import { run, tempDir, toolsBin, which } from '../test/e2e/support/process.ts'

const OUTPUT = fileURLToPath(new URL('../.ci-output/conformance', import.meta.url))

/** The suite of release 1.1 as the module proxy has it, and the newest one where somebody has put that. */
const PROGRAMS = ['oci-conformance-1.1', 'oci-conformance'].map((name) => join(toolsBin, name))

const MISSING = `The official conformance suite is not here, so it is SKIPPED: ${PROGRAMS[0]} is looked for.
${
  which('go') === undefined
    ? 'It is a Go program, and there is no Go on this machine: install Go 1.22 or newer, then run'
    : 'Run'
} scripts/install-peers.sh conformance. Seaway's own tests of the same specification (test/http) run in npm test.`

/** What both generations of the suite read: the older one its own names, which the newer one takes too but warns of. */
function settings(host: string, newer: boolean, results: string): Record<string, string> {
  const repositories = ['conformance/one', 'conformance/two'] as const
  if (!newer) {
    return {
      OCI_ROOT_URL: `http://${host}`,
      OCI_NAMESPACE: repositories[0],
      OCI_CROSSMOUNT_NAMESPACE: repositories[1],
      OCI_TEST_PULL: '1',
      OCI_TEST_PUSH: '1',
      OCI_TEST_CONTENT_DISCOVERY: '1',
      OCI_TEST_CONTENT_MANAGEMENT: '1',
      OCI_AUTOMATIC_CROSSMOUNT: '1',
      OCI_HIDE_SKIPPED_WORKFLOWS: '0',
      OCI_REPORT_DIR: results
    }
  }
  return {
    OCI_REGISTRY: host,
    OCI_TLS: 'disabled',
    OCI_REPO1: repositories[0],
    OCI_REPO2: repositories[1],
    OCI_RESULTS_DIR: results,
    // Everything that the development version of the specification adds: tags as parameters of a push,
    // cancelled uploads, the digest header everywhere.
    OCI_VERSION: 'dev'
  }
}

/** The figures of JUnit reports, added up. */
async function junit(folder: string): Promise<Record<'tests' | 'failures' | 'errors' | 'skipped', number>> {
  const sums = { tests: 0, failures: 0, errors: 0, skipped: 0 }
  for (const name of await readdir(folder)) {
    if (!name.endsWith('.xml')) continue
    const text = await readFile(join(folder, name), 'utf8')
    const head = /<testsuite\s[^>]*>/.exec(text)?.[0] ?? ''
    for (const key of Object.keys(sums) as (keyof typeof sums)[]) {
      sums[key] += Number(new RegExp(`\\s${key}="(\\d+)"`).exec(head)?.[1] ?? 0)
    }
  }
  return sums
}

const programs = PROGRAMS.filter(existsSync)
if (programs.length === 0) {
  console.error(MISSING)
  process.exit(process.env['CI'] ? 1 : 0)
}
const temp = tempDir('conformance')

/** The official suite against a gateway, one generation after the other. */
async function suite(gateway: SeawayGateway, as: string, more: Record<string, string> = {}): Promise<void> {
  for (const program of programs) {
    const newer = program === PROGRAMS[1]
    const results = join(OUTPUT, `${newer ? 'main' : '1.1'}${as}`)
    await rm(results, { recursive: true, force: true })
    await mkdir(results, { recursive: true })
    const env = { ...settings(gateway.host, newer, results), ...more }
    const { status, stdout, stderr } = await run(program, [], {
      env,
      cwd: results,
      timeout: 600_000,
      allowFailure: true
    })
    if (status !== 0) console.error(`${stdout}\n${stderr}`.trim().split('\n').slice(-60).join('\n'))
    const sums = await junit(results)
    console.log(
      `${newer ? 'main' : 'v1.1'}${as}: ${sums.tests} tests, ${sums.failures + sums.errors} failed, ${sums.skipped} skipped; report in ${results}`
    )
    if (status !== 0 || sums.failures + sums.errors > 0 || sums.tests === 0) process.exitCode = 1
  }
}

const open = await startGateway({ dir: temp.path })
try {
  await suite(open, '')
} finally {
  await open.stop()
}
const users = join(temp.path, 'users')
await writeFile(users, '')
const closed = await startGateway({ dir: temp.path, env: { SEAWAY_AUTH_USERS: users } })
try {
  await closed.seaway(['login-user', 'alice'], { input: 'conformance\n' })
  // a mount from anywhere takes the right to read everything, which a token for one repository hasn't got
  await suite(closed, '-auth', {
    OCI_USERNAME: 'alice',
    OCI_PASSWORD: 'conformance',
    OCI_AUTOMATIC_CROSSMOUNT: '0'
  })
} finally {
  await closed.stop()
  await temp.remove()
}
