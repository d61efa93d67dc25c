import { ConfigError } from '../config.ts'
import type { Command } from './command.ts'
import { listImages } from './images-list.ts'
import { LIST_OPTIONS, listOptions } from './images-options.ts'
import { repositoryOf, sourceOf } from './look.ts'

/** `seaway tags REPOSITORY [GLOB]` */
export const tags: Command = {
  name: 'tags',
  arguments: '<repository> [glob]',
  summary: 'lists the tags of a repository: of this gateway, as a pull would find it, or of another place',
  examples: [
    ['seaway tags example.com/app', 'the local tree first, else what the domain publishes'],
    ["seaway tags example.com/app 'v1.*' --sort version", 'v1.9 before v1.10'],
    ['seaway tags --in example.com app', 'what the domain publishes, also where there is a local tree'],
    ['seaway tags ipfs/bafybeihax…/app -q', 'of a root, names alone'],
    ['seaway tags 127.0.0.1:5001/app --newer 24h', 'of another registry or gateway']
  ],
  json: true,
  options: LIST_OPTIONS,
  async run(context, [text = '', glob], given) {
    const options = listOptions(given)
    const { source, repository } = repositoryOf(text, sourceOf(given['in']))
    if (/[:@]/.test(repository))
      throw new ConfigError(`'${text}' names one image: say seaway inspect for that, or leave out its tag`)
    await listImages(context, {
      source,
      repositories: repository,
      one: true,
      options,
      ...(glob !== undefined && { tags: glob })
    })
  }
}
