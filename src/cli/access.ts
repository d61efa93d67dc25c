import type { Command } from './command.ts'

/** `seaway access check USER REPOSITORY ACTION` */
export const access: Command = {
  name: 'access',
  arguments: '<check> <user> <repository> <action>',
  words: ['check'],
  summary: 'says whether somebody may do something, and why; exit status 1 if not',
  examples: [
    ['seaway access check alice example.com/app push', 'by the users and rules as they are now'],
    ['seaway access check anonymous example.com/app pull', 'somebody who has not logged in'],
    ['seaway access check token:ci example.com/app push', 'a token, by its name or its id'],
    ['seaway access check github:acme/app example.com/app push --claim ref=refs/heads/main', ''],
    ['seaway access check alice example.com publish', 'publishing is about a whole domain']
  ],
  json: true,
  options: [{ flags: '--claim <claims>', about: "NAME=VALUE,… that an issuer's token has" }],
  // loaded here, as for all that few commands need
  run: async (...call) => (await import('./access-check.ts')).check(...call)
}
