import type { Command } from './command.ts'

/** The command table, in the order in which help shows it. Each is loaded by itself: all of them take a seventh of a start. */
const COMMANDS: Readonly<Record<string, () => Promise<Command>>> = {
  serve: async () => (await import('./serve.ts')).serve,
  images: async () => (await import('./images.ts')).images,
  tags: async () => (await import('./tags.ts')).tags,
  inspect: async () => (await import('./inspect.ts')).inspect,
  diff: async () => (await import('./diff.ts')).diff,
  root: async () => (await import('./root.ts')).root,
  publish: async () => (await import('./publish.ts')).publish,
  push: async () => (await import('./push.ts')).push,
  pull: async () => (await import('./pull.ts')).pull,
  copy: async () => (await import('./copy.ts')).copy,
  export: async () => (await import('./export.ts')).exportCommand,
  import: async () => (await import('./import.ts')).importCommand,
  key: async () => (await import('./key.ts')).key,
  sync: async () => (await import('./sync.ts')).sync,
  doctor: async () => (await import('./doctor.ts')).doctor,
  usage: async () => (await import('./usage.ts')).usage,
  verify: async () => (await import('./verify.ts')).verify,
  provide: async () => (await import('./provide.ts')).provide,
  gc: async () => (await import('./gc.ts')).gc,
  rm: async () => (await import('./rm.ts')).rm,
  history: async () => (await import('./history.ts')).history,
  pin: async () => (await import('./pin.ts')).pin,
  prefetch: async () => (await import('./prefetch.ts')).prefetch,
  setup: async () => (await import('./setup.ts')).setup,
  'login-user': async () => (await import('./login-user.ts')).loginUser,
  token: async () => (await import('./token.ts')).token,
  whoami: async () => (await import('./whoami.ts')).whoami,
  access: async () => (await import('./access.ts')).access,
  completion: async () => (await import('./completion.ts')).completionOf(allCommands)
}

/** All commands, in the order in which help shows them. */
export const allCommands = (): Promise<readonly Command[]> =>
  Promise.all(Object.values(COMMANDS).map((load) => load()))

/** The command of that name, if there is one. */
export async function commandNamed(name: string): Promise<Command | undefined> {
  return Object.hasOwn(COMMANDS, name) ? await COMMANDS[name]?.() : undefined
}
