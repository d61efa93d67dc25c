/** Images with what a list can filter by: platforms, labels, times, sizes. */
import { descriptor, type Made, manifest, OCI_CONFIG, OCI_INDEX, type OciClient } from './oci-client.ts'

/** What an image is to say of itself. */
export interface ImageText {
  readonly platform?: readonly [os: string, architecture: string]
  /** RFC 3339. */
  readonly created?: string
  readonly labels?: Readonly<Record<string, string>>
  readonly env?: readonly string[]
  /** What is in its layers, one text each. */
  readonly layers?: readonly (string | Uint8Array)[]
}

/** Pushes one, under its digest alone where no tag is given. */
export async function labelledImage(
  client: OciClient,
  name: string,
  tag: string | undefined,
  text: ImageText = {}
): Promise<Made> {
  const [os, architecture] = text.platform ?? ['linux', 'amd64']
  const { created, labels, env, layers: contents = [`layer of ${name}:${tag}`] } = text
  const config = { os, architecture, created, config: { Labels: labels, Env: env, Cmd: ['/bin/app'] } }
  const history = contents.map((_, i) => ({ created_by: `COPY part${i} /` }))
  const blob = await client.blob(name, JSON.stringify({ ...config, history }), OCI_CONFIG)
  const layers = []
  for (const content of contents) layers.push(await client.blob(name, content))
  const made = manifest({ config: blob, layers })
  await client.put(name, made, tag)
  return made
}

/** Pushes an index of images for linux/amd64 and linux/arm64, which share a layer. */
export async function twoPlatforms(
  client: OciClient,
  name: string,
  tag: string,
  text: ImageText = {}
): Promise<Made> {
  const manifests = []
  for (const architecture of ['amd64', 'arm64']) {
    const layers = ['shared', `for ${architecture}`]
    const made = await labelledImage(client, name, undefined, {
      ...text,
      platform: ['linux', architecture],
      layers
    })
    manifests.push({ ...descriptor(made), platform: { os: 'linux', architecture } })
  }
  const made = manifest({ manifests }, OCI_INDEX)
  await client.put(name, made, tag)
  return made
}
