// Names what is in a photograph: node dist/classify.js ADDRESS PHOTO [MODEL].
import { readFile } from "node:fs/promises";
import { argv, exit } from "node:process";

import createClient from "openapi-fetch";

import type { paths } from "./schema.js";

const [address, photo, model] = argv.slice(2);
if (!address || !photo) {
  console.error("usage: classify ADDRESS PHOTO [MODEL]");
  exit(2);
}
const client = createClient<paths>({ baseUrl: address });
const file = await readFile(photo);
const { data, error } = await client.POST("/classify", {
  params: { query: { model, top_k: 3 } },
  // The file itself; the contract's type of bytes is string.
  body: "",
  bodySerializer: () => new Blob([file]),
  headers: { "Content-Type": "application/octet-stream" },
});
if (error) {
  console.error(`${error.title}: ${error.detail} (request ${error.request_id})`);
  exit(1);
}
for (const p of data.predictions) console.log(`${p.label.padEnd(10)} ${(100 * p.probability).toFixed(1)}%`);
