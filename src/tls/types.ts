import type { KeyPair } from './pair.ts'

/** Who a server is to its clients: its certificate, which may change while it runs. */
export interface Identity {
  /** The pair in use; none before the first one was issued. */
  readonly pair: KeyPair | undefined
  /** Why the pair isn't the one that it should be; nothing when all is well. */
  readonly trouble: string | undefined
  /** Tells `listener` of every other pair from now on. */
  onChange(listener: (pair: KeyPair) => void): void
  /** The pair that proves to an authority that this server is `servername` (TLS-ALPN-01). */
  alpnProof(servername: string): KeyPair | undefined
  /** The text that proves to an authority that this server has `token` (HTTP-01). */
  httpProof(token: string): string | undefined
  /** Begins to look for new pairs. */
  start(): void
  stop(): Promise<void>
}
