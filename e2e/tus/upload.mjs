// Uploads a file by tus-js-client and prints what became of it:
// node upload.mjs ENDPOINT TOKEN FILE METADATA CHUNK-SIZE DURING-CREATION
import { createReadStream } from "node:fs"
import * as tus from "tus-js-client"

const [endpoint, token, file, metadata, chunkSize, during] = process.argv.slice(2)
let retries = 0
const upload = new tus.Upload(createReadStream(file), {
  endpoint,
  headers: { Authorization: `Bearer ${token}` },
  metadata: JSON.parse(metadata),
  chunkSize: Number(chunkSize) || Infinity,
  uploadDataDuringCreation: during === "true",
  retryDelays: Array(200).fill(300),
  onShouldRetry: (error) => {
    const status = error.originalResponse ? error.originalResponse.getStatus() : 0
    if (status >= 400 && status < 500 && status !== 409 && status !== 423) return false
    retries++
    return true
  },
  onError: (error) => {
    const response = error.originalResponse
    console.log(JSON.stringify({ failed: true, status: response?.getStatus(), body: response?.getBody(), retries, text: String(error) }))
    process.exit(1)
  },
  onSuccess: () => console.log(JSON.stringify({ failed: false, url: upload.url, retries })),
})
upload.start()
