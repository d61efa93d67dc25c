import type { ImageFilter } from './look-summary.ts'

/** Whether a filter asks for what only manifests and configs tell. */
export function needsDetails(filter: ImageFilter): boolean {
  const { labels = [], platform, olderThan, newerThan, largerThan, smallerThan } = filter
  const asked = [platform, olderThan, newerThan, largerThan, smallerThan]
  return labels.length > 0 || asked.some((value) => value !== undefined)
}
