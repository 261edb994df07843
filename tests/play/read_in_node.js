// Reads lists as the page does, without a page: JSON [{ name, data (base64), column, lowercase }] on standard input; for each
// { line } that refuses it, or { words, dropped }.
import { readFileSync } from "node:fs";
import { readList, split } from "../../src/rungwise/play/list.js";
import { bytesFrom, UserError } from "../../src/rungwise/play/source.js";

async function read({ name, data, ...how }) {
  try {
    const { characters, codes, offsets, dropped, ...list } = readList(await bytesFrom(new Blob([Buffer.from(data, "base64")]), name), name, how);
    split({ ...list, name, characters, codes, offsets }, "strict");
    const word = (i) => Array.from(codes.subarray(offsets[i], offsets[i + 1]), (id) => characters[id - 2]).join("");
    return { words: Array.from({ length: offsets.length - 1 }, (_, i) => word(i)), dropped };
  } catch (error) {
    if (!(error instanceof UserError)) throw error;
    return { line: error.message };
  }
}

console.log(JSON.stringify(await Promise.all(JSON.parse(readFileSync(0, "utf-8")).map(read))));
