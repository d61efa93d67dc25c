import type { RepositoryName } from '../oci/reference.ts'
import type { DomainRules } from './domain-rules.ts'
import type { Push } from './push.ts'
import type { Removal } from './remove.ts'

/** Writing as clients may: into domains that the rules allow. What the operator does by command is not asked about. */
export function guardPush(push: Push & Removal, rules: DomainRules): Push & Removal {
  const check = (name: RepositoryName): string => {
    const domain = push.writableDomain(name)
    rules.check(domain)
    return domain
  }
  return {
    writableDomain: check,
    async manifest(name, what, signal) {
      check(name)
      return push.manifest(name, what, signal)
    },
    async mount(name, digest, from, signal) {
      check(name)
      return push.mount(name, digest, from, signal)
    },
    async deleteManifest(name, reference, signal) {
      check(name)
      await push.deleteManifest(name, reference, signal)
    },
    async deleteBlob(name, digest, signal) {
      check(name)
      await push.deleteBlob(name, digest, signal)
    }
  }
}
