module.exports = globalThis.FormData
