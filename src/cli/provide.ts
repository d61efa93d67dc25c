import type { Command, ProvideStatus } from './command.ts'
import { formatJson } from './terminal.ts'

/** `seaway provide` */
export const provide: Command = {
  name: 'provide',
  arguments: '',
  summary: 'tells the public network now what peers can have from here, and says how that went',
  examples: [
    ['seaway provide', 'with SEAWAY_ROUTING=public; it happens by itself, too'],
    ['seaway provide --status', 'only says how it goes']
  ],
  json: true,
  options: [{ flags: '--status', about: 'only say how it goes' }],
  async run({ operate, print }, _, { json, status }) {
    const now = status !== true
    const said = await operate((operations, call) => operations.provide({ now }, call))
    print(json === true ? formatJson(said) : inWords(said))
  }
}

function inWords({ enabled, running, waiting, last, next }: ProvideStatus): string {
  if (!enabled) return 'nobody is told what is here: set SEAWAY_ROUTING=public for that'
  const lines: string[] = []
  if (running !== undefined) lines.push(`${running.done} of at least ${running.total} told so far`)
  if (waiting > 0) lines.push(`${waiting} new ones waiting`)
  const failed = last && last.failed > 0 ? `, ${last.failed} of which nobody took note` : ''
  if (last !== undefined) lines.push(`last told ${last.told + last.failed} at ${time(last.at)}${failed}`)
  if (next !== undefined && running === undefined) lines.push(`again at ${time(next)}`)
  return lines.length > 0 ? lines.join('\n') : 'nothing was told yet'
}

const time = (at: number) => new Date(at).toISOString()
