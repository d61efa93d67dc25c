import type { Command } from './command.ts'

/** How many changes are told of unless more are asked for. */
export const DIFF_LIMIT = 1000

/** `seaway diff BEFORE AFTER` */
export const diff: Command = {
  name: 'diff',
  arguments: '<before> <after>',
  summary:
    'shows what is different between two images, or between all images of two roots, domains or registries',
  examples: [
    ['seaway diff example.com@6 example.com@7', 'tags and layers, from one published root to another'],
    ['seaway diff local example.com', 'of two trees: CIDs, IPNS names, domains'],
    ['seaway diff bafybeihax… https://registry.example', 'also of a tree and a registry'],
    ['seaway diff app:1 app:2', 'layers and config of two images'],
    ['seaway diff app:1 example.com/app:1 --platform linux/arm64', 'for one platform']
  ],
  json: true,
  options: [
    { flags: '--platform <os/arch>', about: 'of images: only this platform' },
    { flags: '--tags', about: 'of roots: only tags, without comparing layers' },
    { flags: '--limit <number>', about: `of roots: at most so many tags; default ${DIFF_LIMIT}` }
  ],
  // loaded here, as for all that few commands need
  run: async (...call) => (await import('./diff-run.ts')).run(...call)
}
