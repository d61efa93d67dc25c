/** A certificate authority of the test's own, made by openssl, with a certificate for this machine. */
import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { run } from './process.ts'

/** Paths of PEM files. */
export interface Certificate {
  /** The authority's certificate, for whoever is to trust it. */
  readonly ca: string
  readonly key: string
  readonly cert: string
}

/** Makes an authority in `dir`, and a certificate of it for 127.0.0.1, localhost and `others` (`IP:192.0.2.1`). */
export async function makeCertificate(dir: string, ...others: string[]): Promise<Certificate> {
  await mkdir(dir, { recursive: true })
  const openssl = (name: string, subject: string, ...args: string[]) => {
    const key = [
      '-newkey',
      'ec',
      '-pkeyopt',
      'ec_paramgen_curve:prime256v1',
      '-noenc',
      '-keyout',
      `${name}.key`
    ]
    const out = ['-out', `${name}.pem`, '-subj', `/CN=${subject}`, '-days', '2']
    return run('openssl', ['req', '-x509', ...key, ...out, ...args], { cwd: dir })
  }
  await openssl('ca', 'test authority')
  const names = [
    '-addext',
    `subjectAltName=${['DNS:localhost', 'IP:127.0.0.1', ...others].join()}`,
    '-addext',
    'basicConstraints=critical,CA:FALSE'
  ]
  await openssl('own', 'localhost', '-CA', 'ca.pem', '-CAkey', 'ca.key', ...names)
  return { ca: join(dir, 'ca.pem'), key: join(dir, 'own.key'), cert: join(dir, 'own.pem') }
}
