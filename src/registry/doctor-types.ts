import type { ContentWay, ProbeKind } from '../ipfs/index.ts'

/**
 * What is examined, in this order. Of the gateway itself: `listening`, `data`, `servers`, `addresses`, `published`.
 * Of a domain: `servers`, `records`, `ipns` (only where a link leads through a name), `peers`, `root`, `tree`,
 * `manifest`, `layers`. Of one that is pulled through, `upstream` first. Of the gateway, `upstreams` last.
 */
export type StepName =
  | 'listening'
  | 'data'
  | 'servers'
  | 'addresses'
  | 'published'
  | 'records'
  | 'ipns'
  | 'peers'
  | 'root'
  | 'tree'
  | 'manifest'
  | 'layers'
  | 'upstream'
  | 'upstreams'

/** Why a step fails or warns, for programs. */
export type Cause =
  | 'not-running'
  | 'certificate'
  | 'not-writable'
  | 'little-space'
  | 'servers-down'
  | 'servers-differ'
  | 'no-record'
  | 'unusable-record'
  | 'record-problems'
  | 'not-published'
  | 'behind'
  | 'ipns-unresolved'
  | 'no-peers'
  | 'unreachable'
  | 'loopback-only'
  | 'root-missing'
  | 'not-a-directory'
  | 'no-tree'
  | 'no-repository'
  | 'no-tag'
  | 'manifest-missing'
  | 'manifest-invalid'
  | 'layer-missing'
  | 'source-failed'
  | 'upstream-down'
  | 'upstream-denied'
  | 'upstream-wrong'
  | 'rate-limited'
  | 'too-slow'
  | 'failed'

/** One thing of several that a step looked at: a server, a record, an address, a layer. */
export interface DoctorPart {
  readonly what: string
  readonly ok: boolean
  readonly says: string
  /** In milliseconds. */
  readonly ms?: number
  /** How a layer's first bytes came. */
  readonly way?: ContentWay
  /** Why an address did not do. */
  readonly kind?: ProbeKind
  /** Whether a name server says that it validated its answers with DNSSEC. */
  readonly authenticated?: boolean
}

/** What is wrong, the likely reason, and the command or record that mends it. */
export interface Trouble {
  readonly cause: Cause
  readonly why: string
  readonly remedy: string
}

/** One step. What comes after a failure that leaves nothing to look at is `skipped`. */
export interface DoctorStep {
  readonly step: StepName
  readonly state: 'ok' | 'warning' | 'failed' | 'skipped'
  /** In milliseconds. */
  readonly ms: number
  readonly says: string
  readonly parts: readonly DoctorPart[]
  /** It is the last good answer, since nobody gives a newer one. */
  readonly stale?: true
  readonly trouble?: Trouble
}

/** What an examination found. */
export interface Diagnosis {
  /** Of this form; changes with it. */
  readonly version: 1
  /** What was examined: a domain, an image, or `gateway`. */
  readonly target: string
  /** Whether nothing failed; warnings may be among the steps. */
  readonly ok: boolean
  /** The first step that failed. */
  readonly failed?: StepName
  readonly steps: readonly DoctorStep[]
}

/** How far an examination is. */
export type DoctorReport = (report: { what: string; done: number; total: number; unit: 'items' }) => void
