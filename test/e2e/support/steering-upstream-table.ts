/** Where a registry sends a gateway that `steering-upstream.spec.ts` asks. */
import { ALLOWED, PUBLIC, REBINDS } from './steering-table.ts'

/** How it is sent there. */
export const WAYS = ['redirect', 'realm'] as const

/** Hosts, as they stand in URLs. */
export const TARGETS: readonly string[] = [
  '127.0.0.1',
  '127.9.9.9',
  '2130706433',
  '0x7f000001',
  '0177.0.0.1',
  '0x7f.1',
  '127.1',
  '0',
  '10.1.2.3',
  '100.64.1.1',
  '168.63.129.16',
  '169.254.169.254',
  '192.168.7.7',
  '[::1]',
  '[::ffff:127.0.0.1]',
  '[::ffff:a9fe:a9fe]',
  '[64:ff9b::7f00:1]',
  '[2002:7f00:1::1]',
  '[fd00:ec2::254]',
  'localhost',
  'localhost.',
  'loopback.example',
  'private.example',
  'metadata.example',
  'mixed.example',
  'six.example',
  'mapped.example',
  ...REBINDS.map(({ name }) => name),
  PUBLIC,
  ALLOWED
]

/** What came of one of them. */
export interface Led {
  readonly gateway: string
  readonly host: string
  readonly way: (typeof WAYS)[number]
  readonly status: number
  /** Addresses of the machine that were connected to. */
  readonly dialled: readonly string[]
}
