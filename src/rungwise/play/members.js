// A Bloom filter of some words, as collect._members makes one: a few bits a word, no word missed, few wrongly found.

import { fnv1a } from "./text.js";
import { base64 } from "./zip.js";

const MOST_BITS = 1 << 22;

export function filterOf(list, words) {
  const distinct = new Map();
  for (const i of words) {
    const ids = list.codes.subarray(list.offsets[i], list.offsets[i + 1]);
    distinct.set(String.fromCharCode(...ids), ids);
  }
  const n = distinct.size;
  const bits = Math.max(64, Math.min(16 * n, MOST_BITS));
  const hashes = Math.max(1, Math.round((bits / Math.max(1, n)) * Math.log(2)));
  const filter = new Uint8Array(Math.ceil(bits / 8));
  for (const ids of distinct.values()) {
    const [first, second] = [fnv1a(ids, 0x811c9dc5), (fnv1a(ids, 0x01000193) | 1) >>> 0];
    for (let i = 0; i < hashes; i++) {
      const bit = (first + i * second) % bits;
      filter[bit >> 3] |= 1 << (bit & 7);
    }
  }
  return { bits, hashes, false_positives: (1 - Math.exp((-hashes * n) / bits)) ** hashes, data: base64(filter) };
}
