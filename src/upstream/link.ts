/**
 * The query of the next page that a `Link` header names. Only that is taken from it: it can lead nowhere else.
 *
 * @see https://www.rfc-editor.org/rfc/rfc8288
 */
export function nextQuery(header: string | undefined, url: URL): string | undefined {
  const next = /<([^<>]*)>\s*;[^,]*\brel="?next\b/i.exec(header ?? '')?.[1]
  const query = next === undefined ? undefined : URL.parse(next, url.href)?.search
  return query === '' ? undefined : query
}
