import type { Digest } from '../oci/digest.ts'
import { RegistryError } from '../oci/errors.ts'
import type { SetAside } from './quarantine.ts'

/** Something in the store that isn't what it was when it was kept. */
export type Damage =
  | { readonly kind: 'blob'; readonly digest: Digest; readonly what: string }
  /** It has been set aside already. */
  | { readonly kind: 'aside'; readonly entry: SetAside }

/** Told of damage as soon as a read meets it; may be told of the same more than once. */
export type OnDamage = (damage: Damage) => void

/** The refusal that a reader gets instead of wrong bytes. */
export class DamagedError extends RegistryError {
  readonly damage: Extract<Damage, { kind: 'blob' }>

  constructor(digest: Digest, what: string, cause?: unknown) {
    super(
      'UNAVAILABLE',
      `the gateway's copy of ${digest} is damaged (${what}); it is being fetched again from whoever has it, so try again, or push it again`,
      { cause, detail: { digest } }
    )
    this.damage = { kind: 'blob', digest, what }
  }
}

/** System errors that say something about the file, and not about this process or its rights. */
const OF_THE_FILE = new Set(['EIO', 'ENOENT', 'EISDIR', 'ENOTDIR', 'EUCLEAN', 'EBADMSG', 'ENXIO', 'ENODATA'])

/** What failed when a blob's file was opened or read: damage, or the gateway's own trouble. */
export function readFailure(digest: Digest, error: unknown): RegistryError {
  const code = (error as NodeJS.ErrnoException | null)?.code ?? ''
  if (code === 'ENOENT') return new DamagedError(digest, 'its file is missing', error)
  if (OF_THE_FILE.has(code)) return new DamagedError(digest, `its file cannot be read: ${code}`, error)
  return new RegistryError(
    'UNAVAILABLE',
    `the gateway cannot read its copy of ${digest} (${code}): its operator has to mend that`,
    { cause: error, detail: { digest } }
  )
}
