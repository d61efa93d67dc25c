/** One way in which a domain can be of no use, and what its puller is to be told. */
import type { DnsServer } from '../../support/dns-server.ts'
import type { BlockServer } from './block-server.ts'

/** A row of the tables in `hostile-servers.ts` and `hostile-records.ts`. */
export interface Hostile {
  readonly what: string
  /** Makes a domain so. */
  readonly set: (domain: string, at: { dns: DnsServer; blocks: BlockServer }) => void
  /** Of the answer to a client, with the code of its error. */
  readonly status: number
  readonly code: string
  /** What the message has to say; each of them. */
  readonly says: readonly RegExp[]
  /** What `doctor` says, where it is in other words than the first of those. */
  readonly doctor?: RegExp
}

export const FAILED = { status: 502, code: 'SOURCE_FAILED' } as const
export const SILENT = { status: 504, code: 'SOURCE_TIMEOUT' } as const
export const ABSENT = { status: 404, code: 'NAME_UNKNOWN' } as const

/** A row that ends in {@link FAILED}. */
export function failing(what: string, says: readonly RegExp[], set: Hostile['set']): Hostile {
  return { what, ...FAILED, says, set }
}

/** A root that nobody has. */
export const NOBODY = 'bafybeigdyrzt5sfp7udm7hu76uh7y26nf3efuylqabf3oclgtqy55fbzdi'
/** One that only forgers speak of. */
export const FORGED = 'bafybeiaysi4s6lnjev27ln5icwm6tueaw2vdykrtjkwiphwekaywqhcjze'
