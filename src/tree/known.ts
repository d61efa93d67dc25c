import { hash } from 'node:crypto'
import { rawCid } from '../store/dag.ts'
import { changeFlat, EMPTY_FLAT } from './node.ts'

/** A folder's block, and where in it the sha256 of its only file stands. */
interface Template {
  readonly bytes: Uint8Array
  readonly at: number
}

/** Stands for a sha256 in a template. */
const UNKNOWN = new Uint8Array(32).fill(0xff)

/** The folder whose only entry is a raw file of `size` bytes. */
function templateOf(name: string, size: number): Template {
  const { bytes } = changeFlat(EMPTY_FLAT, [[name, { cid: rawCid(UNKNOWN), size }]]).block
  return { bytes, at: Buffer.from(bytes).indexOf(UNKNOWN) }
}

/** A link file's bytes are `sha256:` and 64 hexadecimal digits. */
const LINK_SIZE = 71
const LINK_FOLDER = templateOf('link', LINK_SIZE)

/** How many sizes of folders with content are remembered. */
const REMEMBERED = 1000

const contentFolders = new Map<number, Template | undefined>()

/** The folder that has content alone, and with that takes `total` bytes; `undefined` where there is none. */
function contentFolder(total: number): Template | undefined {
  if (contentFolders.has(total)) return contentFolders.get(total)
  const shortest = templateOf('data', 0).bytes.length
  let found: Template | undefined
  // The folder is a byte longer for each that the size in it takes.
  for (let more = 0; more < 5 && found === undefined; more++) {
    const size = total - shortest - more
    const template = size < 0 ? undefined : templateOf('data', size)
    if (template !== undefined && template.bytes.length + size === total) found = template
  }
  if (contentFolders.size >= REMEMBERED) contentFolders.clear()
  contentFolders.set(total, found)
  return found
}

function isFolder({ bytes, at }: Template, file: Uint8Array, folder: Uint8Array): boolean {
  bytes.set(file, at)
  return Buffer.compare(hash('sha256', bytes, 'buffer'), folder) === 0
}

/**
 * Most folders of a registry tree hold one small file, and follow from their names: the link file of that digest, or
 * the content that has it. So they needn't be read to know what is in them.
 *
 * @param name 64 hexadecimal digits
 * @param folder the sha256 of the folder's block
 * @param total what the folder and all in it take, as the link to it says
 * @returns the sha256 of the raw file that is all there is in the folder; `undefined` where that doesn't follow
 */
export function onlyFileOf(name: string, folder: Uint8Array, total: number): Uint8Array | undefined {
  if (total === LINK_FOLDER.bytes.length + LINK_SIZE) {
    const file = hash('sha256', `sha256:${name}`, 'buffer')
    if (isFolder(LINK_FOLDER, file, folder)) return file
  }
  const template = contentFolder(total)
  const content = Buffer.from(name, 'hex')
  return template !== undefined && isFolder(template, content, folder) ? content : undefined
}
