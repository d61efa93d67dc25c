/** A network of its own for one program, which is its name server and has all of its addresses. */
import { randomBytes } from 'node:crypto'
import { mkdir, rm, writeFile } from 'node:fs/promises'
import { run } from './process.ts'

/**
 * Runs a TypeScript file in a network namespace that nothing leads out of, and whose system looks names up at 127.0.0.1.
 * Needs root.
 *
 * @returns what it printed, which has to be JSON
 * @see https://man7.org/linux/man-pages/man8/ip-netns.8.html
 */
export async function runSealed<T>(file: string): Promise<T> {
  const name = `sw${randomBytes(3).toString('hex')}sealed`
  const etc = `/etc/netns/${name}`
  await run('ip', ['netns', 'add', name])
  try {
    await run('ip', ['-n', name, 'link', 'set', 'lo', 'up'])
    await mkdir(etc, { recursive: true })
    await writeFile(`${etc}/resolv.conf`, 'nameserver 127.0.0.1\noptions timeout:1 attempts:2\n')
    const { stdout } = await run('ip', ['netns', 'exec', name, process.execPath, file])
    return JSON.parse(stdout) as T
  } finally {
    await run('ip', ['netns', 'del', name], { allowFailure: true })
    await rm(etc, { recursive: true, force: true })
  }
}
