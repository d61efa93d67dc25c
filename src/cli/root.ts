import type { Command } from './command.ts'
import { formatJson } from './terminal.ts'

/** `seaway root DOMAIN` */
export const root: Command = {
  name: 'root',
  arguments: '<domain>',
  summary: "prints the root CID of a domain's registry tree, alone on stdout",
  examples: [
    ['seaway root example.com', 'for dnslink=/ipfs/<root>'],
    ['seaway root local', 'of images pushed without a domain'],
    ['seaway root example.com@7', 'of a published root, by its number in seaway history']
  ],
  json: true,
  async run({ operate, print }, [domain = ''], { json }) {
    const found = await operate((operations, call) => operations.root({ domain }, call))
    print(json ? formatJson(found) : found.root)
  }
}
