import type { Command } from './command.ts'

/** `seaway serve` */
export const serve: Command = {
  name: 'serve',
  arguments: '',
  summary: 'runs the gateway: a registry for push and pull, and a peer for others',
  examples: [
    ['seaway serve', 'listens on 127.0.0.1:5000'],
    ['seaway serve --listen 127.0.0.1:5001 --data ./two', 'a second gateway beside it']
  ],
  json: false,
  run: (context) => context.serve()
}
