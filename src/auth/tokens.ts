import { createHash, randomBytes, timingSafeEqual } from 'node:crypto'
import { readdir, readFile, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { z } from 'zod'
import { RegistryError, reason } from '../oci/errors.ts'
import { writeWhole } from '../store/whole-file.ts'
import { ACTIONS, type Grant, type Principal } from './types.ts'

/** A token as lists show it: everything but its secret, which is kept nowhere. Times are epoch ms. */
export interface TokenInfo extends Grant {
  readonly id: string
  /** What it is for, as its maker says. */
  readonly name: string
  readonly created: number
  /** `undefined` for one that holds until it is revoked. */
  readonly expires?: number | undefined
}

/** Tokens for machines: a file each in the data folder. */
export interface Tokens {
  /** Makes a token; `secret` is what its holder shows, and is never told again. */
  create(
    options: Grant & { name: string; expires?: number | undefined }
  ): Promise<TokenInfo & { secret: string }>
  list(): Promise<readonly TokenInfo[]>
  /** Takes a token back, by its id or its name. @throws {RegistryError} NAME_UNKNOWN; REQUEST_INVALID for a name that several have */
  revoke(which: string): Promise<TokenInfo>
  /** Whom a secret belongs to; `undefined` when it is wrong, revoked or expired. */
  find(secret: string): Promise<(Principal & { kind: 'token' }) | undefined>
  /** The token with an id, if it still holds. */
  byId(id: string): Promise<(Principal & { kind: 'token' }) | undefined>
}

/** How a token's secret begins, so that scanners for leaked secrets can know one. */
export const TOKEN_PREFIX = 'seaway_'

const SECRET = /^seaway_([0-9a-f]{16})_([A-Za-z0-9_-]{43})$/

const RECORD = z.strictObject({
  id: z.string(),
  name: z.string(),
  repositories: z.array(z.string()),
  can: z.array(z.enum(ACTIONS)),
  created: z.number(),
  expires: z.number().optional(),
  /** sha256 of the secret: with 256 random bits, nothing slower is needed. */
  sha256: z.string()
})
type TokenRecord = z.output<typeof RECORD>

const infoOf = (record: TokenRecord | undefined): TokenInfo | undefined => {
  if (record === undefined) return undefined
  const { sha256: _, expires, ...info } = record
  return { ...info, ...(expires !== undefined && { expires }) }
}

/** A file that says nothing: its token is nobody's, but is there to be seen and revoked. */
const damaged = (id: string): TokenInfo => ({
  id,
  name: '(its file is damaged)',
  repositories: [],
  can: [],
  created: 0
})
const hashOf = (text: string) => createHash('sha256').update(text).digest()

/** Opens the tokens in `folder`, which needs not be there. Who may write there makes tokens; nothing runs meanwhile. */
export function openTokens(folder: string, now: () => number = Date.now): Tokens {
  const pathOf = (id: string) => join(folder, `${id}.json`)

  async function read(id: string): Promise<TokenRecord | undefined> {
    try {
      return RECORD.parse(JSON.parse(await readFile(pathOf(id), 'utf8')))
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
      throw new RegistryError('UNKNOWN', 'a token cannot be read; the log says why', {
        cause: new Error(`${pathOf(id)}: ${reason(error)}`)
      })
    }
  }

  function holder(record: TokenRecord | undefined): (Principal & { kind: 'token' }) | undefined {
    if (record === undefined || (record.expires !== undefined && record.expires <= now())) return undefined
    const { id, name, repositories, can } = record
    return { kind: 'token', id, name, grant: { repositories, can } }
  }

  async function list(): Promise<readonly TokenInfo[]> {
    const names = await readdir(folder).catch((error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return []
      throw error
    })
    const ids = names.flatMap((name) => /^([0-9a-f]{16})\.json$/.exec(name)?.[1] ?? [])
    const infos = await Promise.all(ids.map(async (id) => read(id).then(infoOf, () => damaged(id))))
    return infos.filter((info) => info !== undefined).sort((a, b) => a.created - b.created)
  }

  return {
    async create({ name, repositories, can, expires }) {
      const id = randomBytes(8).toString('hex')
      const secret = `${TOKEN_PREFIX}${id}_${randomBytes(32).toString('base64url')}`
      const record: TokenRecord = {
        id,
        name,
        repositories: [...repositories],
        can: [...can],
        created: now(),
        ...(expires !== undefined && { expires }),
        sha256: hashOf(secret).toString('hex')
      }
      try {
        await writeWhole(pathOf(id), JSON.stringify(record))
      } catch (error) {
        throw new RegistryError('UNAVAILABLE', `the token cannot be kept in ${folder}: ${reason(error)}`, {
          cause: error
        })
      }
      const { sha256: _, ...info } = record
      return { ...info, secret }
    },
    list,
    async revoke(which) {
      const found = (await list()).filter(({ id, name }) => id === which || name === which)
      const [one, other] = found
      if (one === undefined)
        throw new RegistryError(
          'NAME_UNKNOWN',
          `there is no token '${which.slice(0, 80)}'; see 'seaway token list'`
        )
      if (other !== undefined) {
        throw new RegistryError(
          'REQUEST_INVALID',
          `several tokens are called '${which.slice(0, 80)}': name one by its id, ${found.map(({ id }) => id).join(' or ')}`
        )
      }
      await rm(pathOf(one.id), { force: true })
      return one
    },
    async find(secret) {
      const id = SECRET.exec(secret)?.[1]
      const record = id === undefined ? undefined : await read(id)
      // as long for one that isn't there
      const same = timingSafeEqual(
        hashOf(secret),
        record === undefined ? hashOf('') : Buffer.from(record.sha256, 'hex')
      )
      return same ? holder(record) : undefined
    },
    async byId(id) {
      return /^[0-9a-f]{16}$/.test(id) ? holder(await read(id)) : undefined
    }
  }
}
