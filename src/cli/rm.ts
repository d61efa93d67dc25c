import type { Command } from './command.ts'
import { formatJson } from './terminal.ts'

/** `seaway rm IMAGE…` */
export const rm: Command = {
  name: 'rm',
  arguments: '<image...>',
  summary: 'removes tags, manifests by digest, or whole repositories; seaway gc then frees their space',
  examples: [
    ['seaway rm example.com/app:1.0', 'one tag; its image stays while another tag has it'],
    ['seaway rm example.com/app:1.0 example.com/app:1.1', 'several, all or none'],
    ['seaway rm example.com/app@sha256:<hex>', 'a manifest, with all tags that point at it'],
    ['seaway rm --all example.com/app', 'the whole repository']
  ],
  json: true,
  options: [
    { flags: '--all', about: 'a name without tag and digest means the whole repository' },
    { flags: '--dry-run', about: 'remove nothing, only say what would go' }
  ],
  async run({ operate, print }, images, options) {
    const [all, dryRun] = [options['all'] === true, options['dryRun'] === true]
    const report = await operate((operations, call) => operations.rm({ images, all, dryRun }, call))
    if (options.json === true) print(formatJson(report))
    else for (const image of report.removed) print(`${dryRun ? 'would remove' : 'removed'} ${image}`)
  }
}
