import { createHash } from 'node:crypto'
import { gzipSync } from 'node:zlib'
import { pack } from 'tar-stream'

const sha256 = (bytes: Uint8Array) => createHash('sha256').update(bytes).digest('hex')

async function tar(files: Record<string, Uint8Array | string>): Promise<Buffer> {
  const writer = pack()
  for (const [name, content] of Object.entries(files))
    writer.entry({ name, mtime: new Date(0) }, Buffer.from(content))
  writer.finalize()
  const chunks: Uint8Array[] = []
  for await (const chunk of writer) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/**
 * An archive as Docker's classic store saves it, the list at the end.
 *
 * @param name none where it is empty
 * @param more.bases what its lower layers end with: they begin alike, and are as long as each other
 */
export async function dockerArchive(
  name: string,
  more: { packed?: boolean; wrong?: boolean; bases?: readonly string[] } = {}
) {
  const contents = [
    ...(more.bases ?? ['']).map((end) => ({ base: 'x'.repeat(200_000) + end })),
    { own: name }
  ]
  const layers = await Promise.all(contents.map((files) => tar(files)))
  const config = JSON.stringify({
    os: 'linux',
    architecture: 'amd64',
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => `sha256:${sha256(layer)}`) }
  })
  const kept = layers.map((layer, i) => {
    const content =
      more.wrong === true && i === layers.length - 1 ? Buffer.concat([layer, Buffer.alloc(512)]) : layer
    return more.packed === true ? gzipSync(content) : content
  })
  const pathOf = (i: number) => `${'abc'[i]}/layer.tar`
  const id = sha256(Buffer.from(config))
  const bytes = await tar({
    [`${id}.json`]: config,
    ...Object.fromEntries(kept.map((content, i) => [pathOf(i), content])),
    'manifest.json': JSON.stringify([
      {
        Config: `${id}.json`,
        RepoTags: name === '' ? null : [name],
        Layers: kept.map((_, i) => pathOf(i))
      }
    ])
  })
  return { bytes, id: `sha256:${id}` }
}
