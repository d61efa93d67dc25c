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

/** An archive as Docker's classic store saves it: links for layers that occur twice, the list at the end. */
export async function dockerArchive(name: string, more: { packed?: boolean; wrong?: boolean } = {}) {
  const layers = [await tar({ base: 'x'.repeat(200_000) }), await tar({ own: name })]
  const config = JSON.stringify({
    os: 'linux',
    architecture: 'amd64',
    rootfs: { type: 'layers', diff_ids: layers.map((layer) => `sha256:${sha256(layer)}`) }
  })
  const kept = layers.map((layer, i) => {
    const content = more.wrong === true && i === 1 ? Buffer.concat([layer, Buffer.alloc(512)]) : layer
    return more.packed === true ? gzipSync(content) : content
  })
  const id = sha256(Buffer.from(config))
  const bytes = await tar({
    [`${id}.json`]: config,
    'a/layer.tar': kept[0] as Buffer,
    'b/layer.tar': kept[1] as Buffer,
    'manifest.json': JSON.stringify([
      { Config: `${id}.json`, RepoTags: [name], Layers: ['a/layer.tar', 'b/layer.tar'] }
    ])
  })
  return { bytes, id: `sha256:${id}` }
}
