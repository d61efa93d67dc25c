/**
 * Takes bytes where they are needed: whoever has bytes asks for room and writes into it, so that a socket can
 * be read straight into the memory in which a block is put together.
 */
export interface Intake {
  /** Memory for the next bytes; `undefined` while there is none. Asked again before any were written, it
   * gives the same or more. */
  room(): Uint8Array | undefined
  /** So many bytes were written into what {@link Intake.room} gave last. Throws what ends the stream. */
  took(count: number): void
}

/** One that may still hold some of what it took. */
export interface BodyIntake extends Intake {
  /** Tries to pass on what it holds; whether it holds nothing any more. */
  drained(): boolean
}

/** Copies what there is room for; the number of bytes taken. */
export function offer(intake: Intake, chunk: Uint8Array): number {
  let at = 0
  while (at < chunk.length) {
    const room = intake.room()
    if (room === undefined) break
    const part = chunk.subarray(at, at + room.length)
    room.set(part)
    at += part.length
    intake.took(part.length)
  }
  return at
}
