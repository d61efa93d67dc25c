/**
 * Loaded into a gateway (`node --import`) to take something out of how it writes, as `BROKEN` says: a test of
 * durability that doesn't fail then shows nothing.
 *
 * | value         | what is taken out                                                        |
 * | ------------- | ------------------------------------------------------------------------ |
 * | `early`       | rows of the index are answered before they are written                   |
 * | `no-sync`     | nothing is synced                                                        |
 * | `no-data`     | files are not synced                                                     |
 * | `no-folder`   | folders are not synced                                                   |
 * | `no-index`    | the index is not synced                                                  |
 */
import { open } from 'node:fs/promises'
import { ClassicLevel } from 'classic-level'

const kind = process.env.BROKEN

/** How long what is to happen before an answer happens after it, in milliseconds. */
const LATE = 20

type Batch = (this: unknown, operations: readonly object[], options: { sync?: boolean }) => Promise<void>
/** The name by which abstract-level calls what writes a batch. */
const BATCH = '_batch'
const level = ClassicLevel.prototype as unknown as Record<typeof BATCH, Batch>
const batch = level[BATCH]

interface Handle {
  stat(): Promise<{ isDirectory(): boolean }>
  sync(): Promise<void>
  datasync(): Promise<void>
}
const some = await open(import.meta.filename)
const handle = Object.getPrototypeOf(some) as Handle
await some.close()
const { sync, datasync } = handle

switch (kind) {
  case 'early':
    level[BATCH] = async function (operations, options) {
      const kept = operations.map((each) => ({ ...each }))
      setTimeout(() => void batch.call(this, kept, options).catch(() => {}), LATE) // the gateway may have closed it
    }
    break
  case 'no-sync':
  case 'no-data':
  case 'no-folder':
  case 'no-index':
    if (kind === 'no-sync' || kind === 'no-index')
      level[BATCH] = function (operations, options) {
        return batch.call(this, operations, { ...options, sync: false })
      }
    if (kind !== 'no-index') {
      const keeps = async (file: Handle) =>
        kind !== 'no-sync' && (kind === 'no-data') === (await file.stat()).isDirectory()
      handle.sync = async function () {
        if (await keeps(this)) await sync.call(this)
      }
      handle.datasync = async function () {
        if (await keeps(this)) await datasync.call(this)
      }
    }
    break
  default:
    throw new Error(`BROKEN=${kind}: nothing is known by that name`)
}
