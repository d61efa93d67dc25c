import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Config } from '../config.ts'

/** The file in which `docker login` keeps what registries know the user by; `undefined` where there is none. */
export function loginFile({ dockerConfig }: Pick<Config, 'dockerConfig'>): string | undefined {
  const file = join(dockerConfig, 'config.json')
  return existsSync(file) ? file : undefined
}
