import type { TreeView } from '../tree/index.ts'

/** Greater than every name that begins with what stands before it. */
const LAST = '\u{10ffff}'

/**
 * The repositories of a domain's tree after `after`, in byte order, by their names below the domain. A
 * tree holds them with the domain in front, as Seaway writes them, or without it; each is read from
 * where `after` is, so a page of a large catalogue costs what is on it.
 */
export function namesIn(
  view: TreeView,
  domain: string,
  after: string,
  signal: AbortSignal
): AsyncGenerator<string> {
  return mergeSorted(namesBelow(view, `${domain}/`, after, signal), namesBeside(view, domain, after, signal))
}

/** The repositories whose names begin with `prefix` and come after `prefix + after`, without the prefix. */
export async function* namesBelow(
  view: TreeView,
  prefix: string,
  after: string,
  signal: AbortSignal
): AsyncGenerator<string> {
  for await (const name of view.repositories(prefix + after, signal)) {
    if (!name.startsWith(prefix)) return
    yield name.slice(prefix.length)
  }
}

/** The repositories outside of the domain's own folder. */
async function* namesBeside(
  view: TreeView,
  domain: string,
  after: string,
  signal: AbortSignal
): AsyncGenerator<string> {
  const own = `${domain}/`
  for await (const name of view.repositories(after, signal)) {
    if (name.startsWith(own)) {
      yield* view.repositories(own + LAST, signal)
      return
    }
    yield name
  }
}

/** Two sequences in byte order as one, what is in both once. */
export async function* mergeSorted(
  a: AsyncGenerator<string>,
  b: AsyncGenerator<string>
): AsyncGenerator<string> {
  try {
    let [left, right] = [await a.next(), await b.next()]
    while (!left.done && !right.done) {
      const [first, second] = [left.value, right.value]
      yield first < second ? first : second
      if (first >= second) right = await b.next()
      if (first <= second) left = await a.next()
    }
    if (!left.done) yield left.value
    if (!right.done) yield right.value
    yield* a
    yield* b
  } finally {
    await Promise.all([a.return(undefined), b.return(undefined)])
  }
}
