export { type Compression, parseCompression } from './compress.ts'
export type { Delivered, Destination } from './deliver.ts'
export { createEngine, type Engine } from './engine.ts'
export { createLayoutStore, mayBeLayout } from './layout.ts'
export { createLayerMemory, type LayerMemory } from './memory.ts'
export { type Manner, type MoveReport, moveImages, type Stores, type Target } from './move.ts'
export {
  type EnginePlace,
  type FilePlace,
  type ImageName,
  imageText,
  nameInGateway,
  type Place,
  parseImage,
  parsePlace,
  referenceOf
} from './places.ts'
export { ownPlatform, type Platform, parsePlatform } from './platform.ts'
export { createRegistryStore } from './registry.ts'
export {
  type ImageSource,
  type ImageStore,
  type ImageTarget,
  type Moved,
  MoveError,
  type Reporter
} from './types.ts'
