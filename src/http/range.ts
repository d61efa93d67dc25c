import { RegistryError } from '../oci/errors.ts'
import type { ByteRange } from '../store/index.ts'

/**
 * Reads a Range header against content of `size` bytes. `undefined` means "answer with all of it": no
 * header, one of a form that may be ignored, or several ranges, which no registry client sends.
 *
 * @see https://www.rfc-editor.org/rfc/rfc9110#section-14.2
 * @throws {RegistryError} RANGE_INVALID (416) when nothing of the range exists, or it ends before it begins
 */
export function parseRange(header: string, size: number): ByteRange | undefined {
  const match = /^bytes=(\d{0,15})-(\d{0,15})$/.exec(header.trim())
  if (match === null || (match[1] === '' && match[2] === '')) return undefined
  const [, first, last] = match as unknown as [string, string, string]
  let start: number
  let end: number
  if (first === '') {
    start = Math.max(0, size - Number(last))
    end = size - 1
    if (Number(last) === 0) throw unsatisfiable(header, size)
  } else {
    start = Number(first)
    end = last === '' ? size - 1 : Math.min(Number(last), size - 1)
    if (last !== '' && Number(last) < start) throw unsatisfiable(header, size)
  }
  if (start >= size) throw unsatisfiable(header, size)
  return { start, end }
}

function unsatisfiable(header: string, size: number): RegistryError {
  return new RegistryError(
    'RANGE_INVALID',
    `the range '${header.slice(0, 60)}' is outside of the ${size} bytes there are`,
    {
      headers: { 'Content-Range': `bytes */${size}` }
    }
  )
}
