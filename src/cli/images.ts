import type { Command } from './command.ts'
import { listImages } from './images-list.ts'
import { LIST_OPTIONS, listOptions } from './images-options.ts'
import { sourceOf } from './look.ts'

/** `seaway images [GLOB]` */
export const images: Command = {
  name: 'images',
  arguments: '[glob]',
  summary:
    'lists images with their tags: those of this gateway, or of a domain, a root, an IPNS name or a registry',
  examples: [
    ['seaway images', 'all local trees'],
    ["seaway images 'example.com/**:v1.*'", 'by name and tag: ** goes over slashes, * does not'],
    ['seaway images --in example.com', 'what a domain publishes, wherever that is'],
    ['seaway images --in bafybeihax…', 'a root by its CID; an IPNS name, example.com@7, a URL alike'],
    ['seaway images --in https://registry.example --count', 'another registry, or a gateway, over its API'],
    ['seaway images --label team=web --older 30d --sort size', 'what could go'],
    ['seaway images -q --platform linux/arm64', 'names alone, for other commands']
  ],
  json: true,
  options: LIST_OPTIONS,
  async run(context, [glob], given) {
    const options = listOptions(given)
    const source = sourceOf(given['in']) ?? { kind: 'gateway' }
    await listImages(context, { source, one: false, options, ...patterns(glob) })
  }
}

/** A glob's part for repositories, and the one behind a colon for tags. */
export function patterns(glob: string | undefined): { repositories?: string; tags?: string } {
  if (glob === undefined) return {}
  const colon = glob.indexOf(':', glob.lastIndexOf('/') + 1)
  if (colon === -1) return { repositories: glob }
  return { repositories: glob.slice(0, colon), tags: glob.slice(colon + 1) }
}
