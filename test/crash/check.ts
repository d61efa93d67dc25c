/** Reads back, through the API, all that a model says must be there, and settles what may be either. */
import { Agent } from 'node:http'
import { type Answer, digestOf, ociClient } from '../support/oci-client.ts'
import { REPOSITORIES } from './client.ts'
import type { Model } from './model.ts'
import type { LeftUpload } from './sender.ts'

/** How many things at most are remembered that no tag needs: what each check reads stays bounded. */
const REMEMBERED = 40

/** Everything that is read must be these: tags, manifests and blobs by their digests. Returns what is wrong. */
export async function checkModel(port: number, model: Model): Promise<string[]> {
  const wrong: string[] = []
  const http = ociClient({ port })
  const agent = new Agent({ keepAlive: true, maxSockets: 8 })
  const get = (path: string): Promise<Answer> => http.call('GET', path, { agent, headers: { accept: '*/*' } })
  const blobs = new Map<string, Promise<string | undefined>>()

  /** What is wrong with a blob; `undefined` when nothing is. */
  async function readBlob(repository: string, digest: string): Promise<string | undefined> {
    const { status, body } = await get(`/v2/${repository}/blobs/${digest}`)
    if (status !== 200) return `${repository}/blobs/${digest}: ${status} ${body.toString().slice(0, 150)}`
    const found = digestOf(body)
    return found === digest ? undefined : `${repository}/blobs/${digest} has the bytes of ${found}`
  }

  function blob(repository: string, digest: string): Promise<string | undefined> {
    const key = `${repository}@${digest}`
    const known = blobs.get(key) ?? readBlob(repository, digest)
    blobs.set(key, known)
    return known
  }

  const images = new Map<string, Promise<string | undefined>>()
  /** The digest that `reference` has, with all that it names read; `undefined` when it isn't there. */
  function image(repository: string, reference: string): Promise<string | undefined> {
    const key = `${repository}@${reference}`
    const known = images.get(key) ?? readImage(repository, reference)
    images.set(key, known)
    return known
  }

  async function readImage(repository: string, reference: string): Promise<string | undefined> {
    const path = `/v2/${repository}/manifests/${reference}`
    const { status, body, headers } = await get(path)
    if (status === 404) return undefined
    if (status !== 200) {
      wrong.push(`${path}: ${status} ${body.toString().slice(0, 150)}`)
      return undefined
    }
    const digest = digestOf(body)
    if (digest !== headers['docker-content-digest'])
      wrong.push(`${path} has the bytes of ${digest}, not of ${headers['docker-content-digest']}`)
    const { config, layers, manifests } = JSON.parse(body.toString()) as Record<string, unknown>
    const named = [config, ...((layers as unknown[]) ?? [])].filter((each) => each !== undefined)
    for (const { digest: part } of named as { digest: string }[]) {
      const problem = await blob(repository, part)
      if (problem !== undefined) wrong.push(`${path} names what cannot be read: ${problem}`)
    }
    for (const { digest: child } of (manifests ?? []) as { digest: string }[]) {
      if ((await image(repository, child)) === undefined) wrong.push(`${path} names ${child}, which is gone`)
    }
    return digest
  }

  async function checkTags(): Promise<void> {
    await Promise.all(
      [...model.tags].map(async ([key, register]) => {
        const [repository = '', tag = ''] = key.split(':')
        const found = await image(repository, tag)
        if (!register.allowed().includes(found))
          wrong.push(`${key} is ${found}, not ${register.allowed().join(' or ')}`)
        register.settle(found)
      })
    )
    for (const repository of REPOSITORIES) {
      const { status, body } = await get(`/v2/${repository}/tags/list`)
      if (status !== 200 && status !== 404) wrong.push(`the tags of ${repository}: ${status}`)
      const { tags = [] } = status === 200 ? (JSON.parse(body.toString()) as { tags?: string[] }) : {}
      const all = [...model.tags].filter(([key]) => key.startsWith(`${repository}:`))
      const there = all.filter(([, register]) => register.certain()?.value !== undefined)
      const expected = there.map(([key]) => key.slice(repository.length + 1)).sort()
      if (tags.toSorted().join() !== expected.join())
        wrong.push(`${repository} lists the tags ${tags.join()} and has ${expected.join()}`)
    }
  }

  /** What tags need, directly, as children, or as what refers to it. */
  function needed(): Set<string> {
    const found = new Set<string>()
    const all = [...model.manifests].filter(([, { is }]) => is.certain()?.value !== false)
    const add = (repository: string, digest: string): void => {
      const key = `${repository}@${digest}`
      if (found.has(key)) return
      found.add(key)
      for (const child of model.manifests.get(key)?.made.children ?? []) add(repository, child)
      for (const [other, { made }] of all)
        if (made.subject === digest && other.startsWith(`${repository}@`)) add(repository, made.digest)
    }
    for (const [key, register] of model.tags) {
      const { value } = register.certain() ?? {}
      if (value !== undefined) add(key.split(':')[0] ?? '', value)
    }
    return found
  }

  /** Manifests by digest, and that those with a subject are listed with it. */
  async function checkManifests(): Promise<void> {
    const kept = needed()
    await Promise.all(
      [...model.manifests].map(async ([key, { made, is, since }]) => {
        const [repository = ''] = key.split('@')
        const found = (await image(repository, made.digest)) !== undefined
        const mayBeCollected = !kept.has(key) && since < model.collected
        if (!is.allowed().includes(found) && !(mayBeCollected && !found))
          wrong.push(`${key} is ${found ? 'there' : 'gone'}, and must ${found ? 'not' : ''} be there`)
        is.settle(found)
        if (!found || made.subject === undefined) return
        const { status, body } = await get(`/v2/${repository}/referrers/${made.subject}`)
        if (status !== 200 || !body.includes(made.digest))
          wrong.push(`${key} is not among the referrers of ${made.subject}`)
      })
    )
    for (const [key, { is }] of model.manifests) {
      if (is.certain()?.value === false) model.forget('manifests', key)
    }
    const rest = [...model.manifests.keys()].filter((key) => !kept.has(key))
    for (const key of rest.slice(0, Math.max(0, rest.length - REMEMBERED))) model.forget('manifests', key)
  }

  async function checkLooses(): Promise<void> {
    await Promise.all(
      [...model.looses].map(async ([key, is]) => {
        const [repository = '', digest = ''] = key.split('@')
        const { status } = await http.call('HEAD', `/v2/${repository}/blobs/${digest}`, { agent })
        const found = status === 200
        if (status !== 200 && status !== 404) wrong.push(`${key}: ${status}`)
        const problem = found ? await blob(repository, digest) : undefined
        if (problem !== undefined) wrong.push(problem)
        if (!is.allowed().includes(found) && !(model.collected > 0 && !found))
          wrong.push(`blob ${key} is ${found ? 'there' : 'gone'}, and must ${found ? 'not' : ''} be there`)
        is.settle(found)
      })
    )
    const all = [...model.looses.keys()]
    for (const key of all.slice(0, Math.max(0, all.length - REMEMBERED))) model.forget('looses', key)
  }

  try {
    await checkTags()
    await checkManifests()
    await checkLooses()
    return [...new Set(wrong)]
  } finally {
    agent.destroy()
  }
}

/** Goes on with uploads that the crash cut off: what was answered is there, and the rest makes it whole. */
export async function checkLeft(port: number, model: Model, left: readonly LeftUpload[]): Promise<string[]> {
  const http = ociClient({ port })
  const wrong: string[] = []
  for (const { repository, location, piece, answered } of left) {
    const { status, headers } = await http.call('GET', location)
    const last = Number(/^0-(\d+)$/.exec(headers.range ?? '')?.[1])
    const from = last === 0 ? 0 : last + 1
    if (status !== 204 || !(from >= answered)) {
      wrong.push(`upload ${location}: ${status}, range ${headers.range}, ${answered} bytes were answered`)
      continue
    }
    const end = `${location}${location.includes('?') ? '&' : '?'}digest=${piece.digest}`
    const put = await http.call('PUT', end, { body: piece.bytes.subarray(from) })
    const read = await http.call('GET', `/v2/${repository}/blobs/${piece.digest}`)
    if (put.status !== 201 || digestOf(read.body) !== piece.digest)
      wrong.push(
        `upload ${location} cannot be ended: ${put.status} ${put.body.toString()}, then ${read.status}`
      )
    model.loose(repository, piece.digest).settle(true)
  }
  return wrong
}
