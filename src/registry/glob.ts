/** Whether a glob matches a text: `*` stands for anything but a slash, `**` for anything, `?` for one character. */
export function globMatches(glob: string, text: string): boolean {
  const pattern = glob.replace(/\*\*|[*?]|[^*?]+/g, (part) => {
    if (part === '**') return '.*'
    if (part === '*') return '[^/]*'
    return part === '?' ? '[^/]' : part.replace(/[\\^$.|+()[\]{}]/g, String.raw`\$&`)
  })
  return new RegExp(`^${pattern}$`, 's').test(text)
}
