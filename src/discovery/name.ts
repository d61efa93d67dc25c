import { randomBytes } from 'node:crypto'
import { domainToASCII } from 'node:url'

/** The longest DNS name in its text form, without the trailing dot. */
export const MAX_NAME = 253

// What a label may hold besides letters and digits is up to the zone (RFC 2181 section 11); what would
// make a name ambiguous in a URL, a record or a log line is kept out.
const LABEL = /^[!-~]{1,63}$/
const FORBIDDEN = /[\s/:\\"@?#%[\]]/

/**
 * The form in which names are asked for, compared and cached: lower case, ASCII (internationalised names
 * by UTS 46), without a trailing dot. `undefined` when `text` cannot be a DNS name.
 *
 * @see https://www.rfc-editor.org/rfc/rfc1035#section-2.3.4
 * @see https://www.rfc-editor.org/rfc/rfc5891
 */
export function toDnsName(text: string): string | undefined {
  if (text.length > 4 * MAX_NAME || FORBIDDEN.test(text)) return undefined
  // node's domainToASCII follows the URL standard, where `123` is the address 0.0.0.123: names that are
  // ASCII already stay away from it
  const ascii = /^[!-~]*$/.test(text) ? text : domainToASCII(text)
  const name = ascii.toLowerCase().replace(/\.$/, '')
  if (name.length === 0 || name.length > MAX_NAME) return undefined
  return name.split('.').every((label) => LABEL.test(label)) ? name : undefined
}

/**
 * The name with each letter's case drawn at random, so that whoever forges an answer has to guess the
 * case as well as the id and the port ("0x20 encoding").
 *
 * @see https://datatracker.ietf.org/doc/html/draft-vixie-dnsext-dns0x20-00
 */
export function mixCase(name: string): string {
  const bits = randomBytes(name.length)
  return Array.from(name, (letter, i) => ((bits[i] ?? 0) & 1 ? letter.toUpperCase() : letter)).join('')
}
