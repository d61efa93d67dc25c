export { createSignatures, type Signatures, UnsignedError } from './policing.ts'
export { watchPolicy } from './policy.ts'
