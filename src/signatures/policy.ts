import { createPublicKey, type KeyObject, X509Certificate } from 'node:crypto'
import { readdir, readFile, stat } from 'node:fs/promises'
import { dirname, join, resolve } from 'node:path'
import { parse as parseYaml } from 'yaml'
import { z } from 'zod'
import { type Watched, watchFiles } from '../auth/index.ts'
import type { Log } from '../log.ts'
import { reason } from '../oci/errors.ts'
import { globMatches } from '../registry/glob.ts'
import { attributesOf } from './notation.ts'
import { MOMENTS, type Moment, type SignaturePolicy, type SignatureRule } from './types.ts'

/** The largest file that a policy is made of, in bytes, and how many a folder of certificates may hold. */
const MAX_FILE = 1024 * 1024
const MAX_FILES = 1000

const text = z.string().min(1).max(1000)
const oneOrMore = <T extends z.ZodType>(item: T) =>
  z.union([item, z.array(item).min(1).max(100)]).transform((value) => [value].flat() as z.output<T>[])

const NOTATION = z.strictObject({ trust: oneOrMore(text), identities: oneOrMore(text).default([]) })

const RULE = z
  .strictObject({
    repositories: oneOrMore(text),
    at: oneOrMore(z.enum(MOMENTS)).default(['pull']),
    cosign: oneOrMore(text).default([]),
    notation: NOTATION.optional()
  })
  .refine(({ cosign, notation }) => cosign.length > 0 || notation !== undefined, {
    message: 'a rule needs cosign (public keys) or notation (trust), or both'
  })
  .refine(({ repositories }) => repositories.some((glob) => !glob.startsWith('!')), {
    message: 'there are exceptions alone: say which repositories they are exceptions of'
  })

const FILE = z.strictObject({ rules: z.array(RULE).min(1).max(1000) })

/**
 * Reads a policy, and again whenever one of its files has changed.
 *
 * ```yaml
 * rules:
 *   - {repositories: ["example.com/**", "!example.com/drafts/**"], cosign: example.pub}
 *   - {repositories: docker.io/acme/*, at: [pull, push], notation: {trust: acme-ca.pem, identities: "O=Acme, C=US"}}
 * ```
 *
 * @throws Error that names the file which is wrong, and how
 */
export async function watchPolicy(
  path: string,
  log: Log,
  lookEveryMs?: number
): Promise<Watched<SignaturePolicy>> {
  return watchFiles({
    path,
    read: () => readPolicy(path),
    log,
    ...(lookEveryMs !== undefined && { lookEveryMs })
  })
}

/** A policy as its files say now, and what they are. @throws Error that names the file which is wrong, and how */
async function readPolicy(path: string): Promise<{ value: SignaturePolicy; files: readonly string[] }> {
  const files = [path]
  const given = await explained(path, async () => {
    const read = FILE.safeParse(parseYaml((await bytesOf(path)).toString(), { maxAliasCount: 0 }) ?? {})
    if (read.success) return read.data
    const [issue] = read.error.issues
    throw new Error(`${issue?.path.map(String).join('.') || 'the file'}: ${issue?.message}`)
  })
  const at = (file: string): string => {
    const full = resolve(dirname(path), file)
    files.push(full)
    return full
  }
  const rules: SignatureRule[] = []
  for (const [i, { cosign, notation, ...rule }] of given.rules.entries()) {
    const keys: KeyObject[] = []
    for (const file of cosign.map(at)) keys.push(await explained(file, () => readKey(file)))
    const certificates: X509Certificate[] = []
    for (const named of notation?.trust.map(at) ?? [])
      for (const file of await explained(named, () => certificateFiles(named))) {
        if (file !== named) files.push(file)
        certificates.push(...(await explained(file, () => readCertificates(file))))
      }
    const identities = notation?.identities.map((one) => identityOf(one, path)) ?? []
    rules.push({ ...rule, what: `rule ${i + 1}`, keys, trust: notation && { certificates, identities } })
  }
  return { value: { rules }, files }
}

/** The rules of a policy that hold for any of these names. `**` is everything, what is asked for by its root too. */
export function rulesFor(
  { rules }: SignaturePolicy,
  names: readonly string[],
  moment: Moment
): readonly SignatureRule[] {
  return rules.filter(
    ({ repositories, at }) =>
      at.includes(moment) &&
      names.some(
        (name) =>
          repositories.some((glob) => !glob.startsWith('!') && globMatches(glob, name)) &&
          !repositories.some((glob) => glob.startsWith('!') && globMatches(glob.slice(1), name))
      )
  )
}

async function explained<T>(path: string, work: () => Promise<T>): Promise<T> {
  try {
    return await work()
  } catch (error) {
    throw new Error(`${path}: ${reason(error)}`, { cause: error })
  }
}

async function bytesOf(path: string): Promise<Buffer> {
  const { size } = await stat(path)
  if (size > MAX_FILE) throw new Error(`it is larger than ${MAX_FILE} bytes`)
  return readFile(path)
}

async function readKey(path: string): Promise<KeyObject> {
  const bytes = await bytesOf(path)
  if (bytes.includes('PRIVATE KEY'))
    throw new Error('it is a private key: keep that to those who sign, and give its public key here')
  let key: KeyObject
  try {
    key = createPublicKey(bytes)
  } catch (error) {
    throw new Error("it is no public key in PEM, as 'cosign generate-key-pair' writes to cosign.pub", {
      cause: error
    })
  }
  if (!['ec', 'ed25519', 'rsa'].includes(key.asymmetricKeyType ?? ''))
    throw new Error(`keys of type ${key.asymmetricKeyType} are not known here: ECDSA, Ed25519 and RSA are`)
  return key
}

/** A file itself, or the files of a folder. */
async function certificateFiles(path: string): Promise<string[]> {
  if (!(await stat(path)).isDirectory()) return [path]
  const names = (await readdir(path)).filter((name) => /\.(?:pem|crt|cer|der)$/i.test(name)).sort()
  if (names.length === 0) throw new Error('it holds no certificates (.pem, .crt, .cer, .der)')
  if (names.length > MAX_FILES) throw new Error(`it holds more than ${MAX_FILES} certificates`)
  return names.map((name) => join(path, name))
}

async function readCertificates(path: string): Promise<X509Certificate[]> {
  const bytes = await bytesOf(path)
  const blocks = bytes
    .toString('latin1')
    .match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g)
  try {
    return (blocks ?? [bytes]).map((one) => new X509Certificate(one))
  } catch (error) {
    throw new Error('it is no certificate in PEM or DER', { cause: error })
  }
}

/** `x509.subject: C=US, O=Acme`, as notation's trust policies have it; what stands before the colon may be left out. */
function identityOf(identity: string, path: string): ReadonlyMap<string, string> {
  const attributes = identity.replace(/^x509\.subject:/, '').split(',')
  if (!attributes.every((part) => /^\s*[A-Za-z]+\s*=\s*\S/.test(part)))
    throw new Error(`${path}: identities: '${identity}' is not like 'C=US, O=Acme'`)
  return attributesOf(attributes)
}
