/** The door of the room: who this server is to its clients, out of files or from an authority. */
export { type AcmeOptions, acmeIdentity } from './acme.ts'
export { fileIdentity } from './files.ts'
export { type KeyPair, namesOf, readPair, validityOf } from './pair.ts'
export type { Identity } from './types.ts'
