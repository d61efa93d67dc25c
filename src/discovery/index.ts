/**
 * The room that finds things: from a domain to the root of its registry tree and the peers that have it,
 * by TXT records (https://dnslink.dev), and the records to publish for that.
 */
export { type Link, parseContentPath } from './dnslink.ts'
export { createDiscovery, type Discovery, type Published } from './finder.ts'
export type { ResolveIpns } from './follow.ts'
export { MAX_PROVIDERS, pickProviders } from './ipfsnode.ts'
export { createIpnsResolver, type IpnsAnswer, type IpnsResolver } from './ipns.ts'
export { createIpnsBook, type IpnsBook } from './ipns-book.ts'
export { createIpnsKeys, type DomainKey, type IpnsKeys } from './ipns-keys.ts'
export { type IpnsName, makeRecord, nameOfKey, parseIpnsName, readRecord } from './ipns-record.ts'
export { createLastGood } from './last-good.ts'
export {
  hasTtl,
  type Publisher,
  type RecordChange,
  type RecordSet,
  recordsAt,
  ZoneChanged
} from './publish.ts'
export { agrees, linkIn, lookEverywhere, type Sight } from './publish-check.ts'
export { createPublisher, type PublisherNeeds, type PublisherSetting } from './publish-settings.ts'
export { formatRecords, PUBLISH_TTL, type TxtRecord, txtRecord } from './records.ts'
export { createResolver, type Resolver, type TxtAnswer } from './resolver.ts'
