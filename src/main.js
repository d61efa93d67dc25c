#!/usr/bin/env node
/**
 * The program: how it is run. What it does stands in `program.ts`, which is loaded when this is settled. This is JavaScript
 * because node would load what strips types for it before it can be told where that is kept: a fifth of a start.
 */
import { enableCompileCache } from 'node:module'
import { getHeapSpaceStatistics, setFlagsFromString } from 'node:v8'
import envPaths from 'env-paths'

/** The size of the heap's young generation, both halves, in bytes. */
const YOUNG = 16 * 1024 * 1024

const youngSize = () =>
  getHeapSpaceStatistics().find(({ space_name }) => space_name === 'new_space')?.space_size ?? YOUNG

/**
 * Has the young generation grow to its size now, and no further: V8 would let it become 128 MB. Bodies go through it as
 * views of buffers outside of it, and in a small one they are collected soon. Its size can only be told to V8 on
 * the command line of `node`; by what factor it grows, at any time.
 */
function settleYoungGeneration() {
  setFlagsFromString('--semi-space-growth-factor=8')
  const kept = []
  // It grows when much of what is in it is still in use at a collection: some 20,000 of these.
  while (youngSize() < YOUNG && kept.length < 500_000) for (let i = 0; i < 5000; i++) kept.push([i])
  setFlagsFromString('--semi-space-growth-factor=1')
}

settleYoungGeneration()
// All that is loaded from here on is compiled once and kept: a start takes a third less time and memory.
enableCompileCache(envPaths('seaway', { suffix: '' }).cache)
await import('./program.ts')
