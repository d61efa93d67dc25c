import type { Published } from '../discovery/index.ts'
import { type Digest, digestOf, splitDigest } from '../oci/digest.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import { type Descriptor, MAX_MANIFEST, type Manifest, readManifest } from '../oci/manifest.ts'
import type { ImageOfDomain } from '../oci/reference.ts'
import { missing, trouble } from './doctor-causes.ts'
import type { Fresh, FreshOptions } from './doctor-fresh.ts'
import { type Examination, StepFailed } from './doctor-steps.ts'
import type { Trouble } from './doctor-types.ts'
import type { Place } from './places.ts'

/** What is known by then. */
export interface Known {
  readonly found: Published
  readonly fresh: Fresh
  readonly options: FreshOptions
  /** For what a pull waits at most, in milliseconds. */
  readonly pullMs: number
}

/** A repository in a tree. */
export type Found = Place & { readonly name: string }

/** How many repositories are counted. */
const MAX_LISTED = 1000

/** Fetches the root block. @returns whether it is a directory */
export function fetchRoot(exam: Examination, { found, fresh, pullMs }: Known): Promise<true | undefined> {
  const { domain, root } = found
  return exam.step(
    'root',
    pullMs,
    async (signal) => {
      const peers = await fresh.peers(found)(signal)
      const bytes = await fresh.ipfs.block(root, { peers, signal })
      try {
        await fresh.directories.load(root, async () => bytes, signal)
      } catch (error) {
        throw new StepFailed(
          trouble(
            'not-a-directory',
            reason(error),
            `the dnslink has to name the root of a registry tree: 'seaway root ${domain}' prints it, 'seaway publish ${domain}' the record`
          )
        )
      }
      return { says: `${root}, ${bytes.length} bytes`, value: true }
    },
    (error) => missing('root-missing', domain, reason(error))
  )
}

/** Finds the repository that is asked for, or the first one. */
export function openRepository(
  exam: Examination,
  { found, fresh, pullMs }: Known,
  wanted: ImageOfDomain
): Promise<Found | undefined> {
  const { domain } = found
  return exam.step(
    'tree',
    pullMs,
    async (signal) => {
      const asked = wanted.repository ?? 'any'
      const name = {
        asked: `${domain}/${asked}`,
        place: { kind: 'domain' as const, domain },
        repository: asked
      }
      const wants = wanted.tag === undefined ? {} : { tag: wanted.tag }
      for await (const place of fresh.places(found).of(name, signal, wants)) {
        if (place.name !== undefined)
          return { says: `${place.name} is there`, value: { ...place, name: place.name } }
        const names = await listed(place, signal)
        const [first] = names
        if (first === undefined) throw new StepFailed(noTree(found))
        if (wanted.repository !== undefined) throw new StepFailed(noRepository(domain, asked, names))
        const count = names.length < MAX_LISTED ? names.length : `${MAX_LISTED} or more`
        return {
          says: `${count === 1 ? 'one repository' : `${count} repositories`}; ${first} is looked at`,
          value: { ...place, name: first }
        }
      }
      throw new StepFailed(noTree(found))
    },
    (error) => missing('source-failed', domain, reason(error))
  )
}

async function listed({ view }: Place, signal: AbortSignal): Promise<string[]> {
  const names: string[] = []
  for await (const name of view.repositories('', signal)) if (names.push(name) >= MAX_LISTED) break
  return names
}

function noTree({ domain, root, path }: Published): Trouble {
  return trouble(
    'no-tree',
    `/ipfs/${root}${path === '' ? '' : `/${path}`} holds no repositories in docker/registry/v2`,
    `the dnslink has to name the root of a registry tree: 'seaway root ${domain}' prints it, 'seaway publish ${domain}' the record`
  )
}

function noRepository(domain: string, asked: string, names: readonly string[]): Trouble {
  const some = names.slice(0, 5).join(', ')
  return trouble(
    'no-repository',
    `the published tree of ${domain} has no repository ${asked}; it has ${some}${names.length > 5 ? ' and others' : ''}`,
    `push it where the tree is, then 'seaway publish ${domain}'; or ask for another name`
  )
}

/** An image's manifest; of an index, the one for this machine. */
export function fetchManifest(
  exam: Examination,
  { found, fresh, pullMs }: Known,
  place: Found,
  asked: string | undefined
): Promise<Manifest | undefined> {
  const { domain } = found
  return exam.step(
    'manifest',
    pullMs,
    async (signal) => {
      const tags = asked === undefined ? await place.view.tags(place.name, signal) : []
      const tag = asked ?? (tags.includes('latest') ? 'latest' : tags.toSorted(naturally).at(-1))
      const digest = tag === undefined ? undefined : await place.view.tag(place.name, tag, signal)
      if (digest === undefined) throw new StepFailed(noTag(domain, place.name, tag))
      await place.view.ahead(place.name, { manifest: digest }, signal)
      const manifest = await manifestOf(digest)
      if (manifest.children.length === 0) return { says: `${tag} is ${digest}`, value: manifest }
      const child = forThisMachine(manifest.children)
      const [os, arch] = [child.platform?.os, child.platform?.architecture]
      return {
        says: `${tag} is ${digest}, an index; ${child.digest}${os === undefined ? '' : ` for ${os}/${arch}`} is looked at`,
        value: await manifestOf(child.digest)
      }

      async function manifestOf(named: Digest): Promise<Manifest> {
        const link = await place.view.blob(named, signal)
        if (link === undefined)
          throw new StepFailed(
            missing('manifest-missing', domain, `the tree names the manifest ${named} but does not hold it`)
          )
        const peers = await place.peers(signal, link.cid)
        const bytes = await read(fresh.ipfs.leaves(link.cid, { peers, signal }), named)
        try {
          return readManifest(bytes, await place.view.manifestType(place.name, named, signal))
        } catch (error) {
          if (!(error instanceof RegistryError) || error.code !== 'MANIFEST_INVALID') throw error
          throw new StepFailed(missing('manifest-invalid', domain, `${named}: ${error.message}`))
        }
      }
    },
    (error) => missing('manifest-missing', domain, reason(error))
  )
}

function noTag(domain: string, repository: string, tag: string | undefined): Trouble {
  return trouble(
    'no-tag',
    tag === undefined
      ? `${repository} has no tags`
      : `${repository} has no tag '${tag}' in the tree that is published`,
    `push it where the tree is, then 'seaway publish ${domain}'; 'seaway publish ${domain}' also if it was pushed lately`
  )
}

/** @throws {RegistryError} SOURCE_FAILED for what is too long or not what the digest says */
async function read(leaves: AsyncIterable<{ data: Uint8Array }>, digest: Digest): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  let size = 0
  for await (const { data } of leaves) {
    size += data.length
    if (size > MAX_MANIFEST)
      throw new RegistryError('SOURCE_FAILED', `${digest} is larger than ${MAX_MANIFEST} bytes`)
    pieces.push(Buffer.from(data))
  }
  const bytes = Buffer.concat(pieces)
  if (digestOf(bytes, splitDigest(digest).algorithm) === digest) return bytes
  throw new RegistryError('SOURCE_FAILED', `the tree holds other content as ${digest}`)
}

/** By the name that OCI has for what Node calls this machine. */
function forThisMachine(children: readonly Descriptor[]): Descriptor {
  const arch = { x64: 'amd64', ia32: '386' }[process.arch as string] ?? process.arch
  const mine = children.find(({ platform }) => platform?.os === 'linux' && platform.architecture === arch)
  return mine ?? (children[0] as Descriptor)
}

/** v10 after v9. */
function naturally(a: string, b: string): number {
  return a.localeCompare(b, 'en', { numeric: true })
}
