/** Who a server of a test is: files with the test certificate, which can be replaced. */
import { mkdtemp, rename, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createLog } from '../../src/log.ts'
import { fileIdentity, type Identity } from '../../src/tls/index.ts'
import { CERTIFICATE, KEY, OTHER_CERTIFICATE, OTHER_KEY } from './certificate.ts'

/** PEM texts. */
export interface Pem {
  cert: string
  key: string
}

/** Another pair than the test certificate's: for new.example. */
export const OTHER: Pem = { cert: OTHER_CERTIFICATE, key: OTHER_KEY }

/** An identity out of files. */
export interface TestIdentity {
  readonly identity: Identity
  readonly cert: string
  readonly key: string
  /** Puts other files in the place of these, as deployments do. */
  replace(pem: Partial<Pem>): Promise<void>
  stop(): Promise<void>
}

/** Starts one with the test certificate; the files are looked at every 20 ms. */
export async function testIdentity(pem: Pem = { cert: CERTIFICATE, key: KEY }): Promise<TestIdentity> {
  const folder = await mkdtemp(join(tmpdir(), 'sw-identity-'))
  const [cert, key] = [join(folder, 'cert.pem'), join(folder, 'key.pem')]
  const replace = async (given: Partial<Pem>) => {
    for (const [path, text] of [
      [key, given.key],
      [cert, given.cert]
    ] as const) {
      if (text === undefined) continue
      await writeFile(`${path}.new`, text, { mode: 0o600 })
      await rename(`${path}.new`, path)
    }
  }
  await replace(pem)
  const identity = await fileIdentity({ cert, key, log: createLog('silent'), everyMs: 20 })
  identity.start()
  return {
    identity,
    cert,
    key,
    replace,
    async stop() {
      await identity.stop()
      await rm(folder, { recursive: true })
    }
  }
}
