import { readFile } from 'node:fs/promises'
import { ConfigError } from '../config.ts'
import { RegistryError, reason } from '../oci/errors.ts'
import type { Command } from './command.ts'
import { formatBytes, formatJson, formatTable } from './terminal.ts'

/** `seaway prefetch IMAGE…` */
export const prefetch: Command = {
  name: 'prefetch',
  arguments: '[image...]',
  summary: 'brings images here before somebody pulls them, with all that belongs to them',
  examples: [
    ['seaway prefetch docker.io/alpine:3 quay.io/a/b:1', 'for the platform of this machine'],
    ['seaway prefetch --platform linux/arm64,linux/amd64 docker.io/alpine:3', 'for these'],
    ['seaway prefetch --platform all docker.io/alpine:3', 'for every one that there is'],
    ['seaway prefetch --list images.txt', 'one image a line, # begins a comment']
  ],
  json: true,
  options: [
    { flags: '--platform <os/arch,…>', about: 'platforms of multi-platform images, or all' },
    { flags: '--list <file>', about: 'a file with further images' }
  ],
  async run({ operate, print }, given, { json, platform, list }) {
    const images = [...given, ...(typeof list === 'string' ? await listed(list) : [])]
    if (images.length === 0) throw new ConfigError('prefetch needs images, as docker.io/alpine:3, or --list')
    const platforms = typeof platform === 'string' ? platform.split(',').map((one) => one.trim()) : []
    for (const one of platforms)
      if (!/^(?:all|[a-z0-9]+\/[a-z0-9]+(?:\/[a-z0-9]+)?)$/.test(one))
        throw new ConfigError(`'${one}' is no platform like linux/arm64, and not all`)
    const all = await operate((operations, call) => operations.prefetch({ images, platforms }, call))
    if (json === true) print(formatJson(all))
    else {
      const rows = all.map(({ image, bytes, fetched, error, stale }) =>
        error === undefined
          ? [
              formatBytes(bytes),
              formatBytes(fetched),
              image,
              stale === undefined ? '' : `as it was: ${stale}`
            ]
          : ['-', '-', image, error]
      )
      for (const line of formatTable(['SIZE', 'FETCHED', 'IMAGE', ''], rows)) print(line)
    }
    const failed = all.filter(({ error }) => error !== undefined)
    if (failed.length > 0)
      throw new RegistryError(
        'SOURCE_FAILED',
        `${failed.length} of ${all.length} images could not be brought here`
      )
  }
}

async function listed(file: string): Promise<string[]> {
  try {
    const lines = (await readFile(file, 'utf8')).split('\n')
    return lines.map((line) => line.replace(/(?:^|\s)#.*/, '').trim()).filter((line) => line !== '')
  } catch (error) {
    throw new RegistryError('REQUEST_INVALID', `the list ${file} cannot be read: ${reason(error)}`, {
      cause: error
    })
  }
}
