export type { Collected } from './collect.ts'
export type { Content } from './content.ts'
export type { Diagnosis, DoctorPart, DoctorStep, Trouble } from './doctor-types.ts'
export { createDomainRules, type DomainRules } from './domain-rules.ts'
export type { History, PublishedRoot } from './history.ts'
export type { HistoryEntry } from './history-log.ts'
export type { ImageRepository, ImageSource, Provider } from './image-source.ts'
export type { Ipns, KeyInfo } from './ipns.ts'
export type { Listed, Lists, Page } from './lists.ts'
export type { Looking, TreeLooking } from './look.ts'
export type { SourceChanges } from './look-compare.ts'
export type { Inspection, InspectQuery } from './look-inspect.ts'
export type { Cursor, ImagesPage, ImagesQuery } from './look-list.ts'
export {
  countedToPeers,
  createMeters,
  type Meters,
  NOBODY,
  type Owner,
  ownerOf,
  type Traffic
} from './meters.ts'
export type { Pin, Pinned } from './pins.ts'
export type { Prefetched, PrefetchRequest } from './prefetch.ts'
export type { AutoOutcome } from './publishing-auto.ts'
export type {
  Publishing,
  PublishReport,
  PublishRequest,
  PublishSettings,
  ServerReport
} from './publishing-types.ts'
export type { BlobContent, ManifestContent, Pull } from './pull.ts'
export type { PullTarget } from './pull-elsewhere.ts'
export type { ManifestPush, Push, Pushed } from './push.ts'
export type { Referrer } from './referrers.ts'
export { createRegistry } from './registry.ts'
export type { Removed, RemoveRequest } from './remove-images.ts'
export type { CollectSettings, RegistrySettings } from './settings.ts'
export type { SourceName } from './source-name.ts'
export type { SyncReport, SyncRequest } from './sync.ts'
export { type Timing, timingsOf } from './timings.ts'
export type { CollectRequest, Registry } from './types.ts'
export { type ChunkRange, type UploadStatus, type Uploads, uploadHeaders } from './uploads.ts'
export type { UploadTarget } from './uploads-left.ts'
export type { UsageReport } from './usage.ts'
export type { Verification, VerifyReport } from './verify.ts'
