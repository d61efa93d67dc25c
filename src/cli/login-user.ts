import { usersFileOf } from '../config.ts'
import { RegistryError } from '../oci/errors.ts'
import type { Command } from './command.ts'
import { readSecret } from './secret-input.ts'
import { formatJson } from './terminal.ts'

/** `seaway login-user NAME` */
export const loginUser: Command = {
  name: 'login-user',
  arguments: '<name>',
  summary: 'makes a user who can log in, or sets another password; a running gateway sees it within seconds',
  examples: [
    ['seaway login-user alice', 'asks for the password; then: docker login'],
    ['seaway login-user ci < password.txt', 'the first line of stdin is the password'],
    ['seaway login-user alice --remove', 'alice can log in no more']
  ],
  json: true,
  options: [{ flags: '--remove', about: 'take the user out; tokens that were given to it end' }],
  async run({ config, print }, [given = ''], options) {
    // loaded here, as for all that few commands need
    const { checkUserName, createPasswords, writeUser } = await import('../auth/index.ts')
    const name = checkUserName(given)
    const file = usersFileOf(config)
    const first = config.authUsers === undefined
    if (options['remove'] === true) {
      if (!(await writeUser(file, name, undefined)))
        throw new RegistryError('NAME_UNKNOWN', `there is no user ${name} in ${file}`)
      print(
        options.json === true ? formatJson({ name, file, removed: true }) : `${name} is removed from ${file}`
      )
      return
    }
    const passwords = createPasswords()
    try {
      const hash = await passwords.hash(await readSecret('Password', true))
      const known = await writeUser(file, name, hash)
      if (options.json === true) print(formatJson({ name, file, known }))
      else print(known ? `${name} has a new password in ${file}` : `${name} is a user now, in ${file}`)
      if (first && options.json !== true)
        print('a gateway that runs without users asks for them from its next start on')
    } finally {
      await passwords.stop()
    }
  }
}
