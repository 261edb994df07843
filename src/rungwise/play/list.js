// A list of words, read as the command line reads one (sources.py, words.py), with its messages; and its split.

import { deriveSeed, Generator } from "./random.js";
import { comparable } from "./text.js";

export const END = 1;
const FIRST_CHARACTER = 2;
const MAX_LENGTH = 64;
/** What a page takes: beyond, rungwise train does it. */
const MOST_BYTES = 1 << 25;
const MOST_WORDS = 1_000_000;
const MOST_CHARACTERS = 2_000;
const TOO_LARGE = "rungwise train reads larger lists.";

export const PROTOCOLS = {
  article: { start_token: false, distinct: false, val_fraction: 0, test_fraction: 0.1, max_test_words: null },
  makemore: { start_token: true, distinct: false, val_fraction: 0, test_fraction: 0.1, max_test_words: 1000 },
  strict: { start_token: true, distinct: true, val_fraction: 0.1, test_fraction: 0.1, max_test_words: null },
};
export const SCORED = { true: "every character and the end", false: "characters 2..n and the end" };

/** What is wrong with what a person gave: shown as it is. */
export class UserError extends Error {}

const count = (n) => n.toLocaleString("en");

/** Before anything is read. */
export function refuseLarge(name, size) {
  if (size > MOST_BYTES) throw new UserError(`${name} has ${count(size)} bytes; a page takes ${count(MOST_BYTES)}. ${TOO_LARGE}`);
}

/**
 * Words as token ids: word i is codes[offsets[i]] to codes[offsets[i + 1]].
 * @param {Uint8Array} bytes
 * @param {string} name
 * @returns {List}
 */
export function readList(bytes, name) {
  refuseLarge(name, bytes.length);
  const lines = textOf(bytes, name).replace(/^\ufeff/, "").split(/\r\n|\r|\n/);
  refuseTable(name, lines);
  const points = new Map();
  const [words, dropped] = [[], { long: 0, blank: 0 }];
  for (const line of lines) {
    // A word of MAX_LENGTH characters is no longer than this, whatever its marks compose to.
    const word = line.length > 64 * MAX_LENGTH ? line : comparable(line);
    if (!word) dropped.blank++;
    else if (word.length > 2 * MAX_LENGTH || [...word].length > MAX_LENGTH) dropped.long++;
    else words.push(word);
  }
  if (!words.length) throw new UserError(`${name} holds no words${dropped.long ? ` of at most ${MAX_LENGTH} characters` : ""}.`);
  if (words.length > MOST_WORDS) throw new UserError(`${name} holds ${count(words.length)} words; a page takes ${count(MOST_WORDS)}. ${TOO_LARGE}`);
  for (const word of words) for (const character of word) points.set(character, 0);
  if (points.has("\0")) throw new UserError(`${name} holds zero characters (U+0000): it is no text, or UTF-16 without its mark; save it as UTF-8.`);
  if (points.size > MOST_CHARACTERS) throw new UserError(`${name} has ${count(points.size)} different characters; a page takes ${count(MOST_CHARACTERS)}. ${TOO_LARGE}`);
  const characters = [...points.keys()].sort((a, b) => a.codePointAt(0) - b.codePointAt(0));
  characters.forEach((character, i) => points.set(character, i + FIRST_CHARACTER));
  return { name, characters, ...encoded(words, points), too_long: dropped.long };
}

function encoded(words, ids) {
  const offsets = new Uint32Array(words.length + 1);
  const codes = new Uint16Array(words.reduce((n, word) => n + word.length, 0));
  let at = 0;
  let longest = 0;
  words.forEach((word, i) => {
    for (const character of word) codes[at++] = ids.get(character);
    offsets[i + 1] = at;
    longest = Math.max(longest, at - offsets[i]);
  });
  return { codes: codes.slice(0, at), offsets, block_size: longest + 1 };
}

const PACKED = { gzip: [0x1f, 0x8b], xz: [0xfd, 0x37, 0x7a, 0x58, 0x5a], zip: [0x50, 0x4b, 3, 4], Parquet: [0x50, 0x41, 0x52, 0x31] };

function textOf(bytes, name) {
  const packed = Object.keys(PACKED).find((kind) => PACKED[kind].every((byte, i) => bytes[i] === byte));
  if (packed) throw new UserError(`${name} is a ${packed} file: a page reads plain text, one word a line; rungwise train reads it.`);
  try {
    return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(bytes);
  } catch {
    const at = firstBadByte(bytes);
    let line = 1;
    for (let i = 0; i < at; i++) if (bytes[i] === 10) line++;
    const wide = (bytes[0] === 0xff && bytes[1] === 0xfe) || (bytes[0] === 0xfe && bytes[1] === 0xff);
    const hint = wide ? "it looks like UTF-16: save it as UTF-8" : "convert it first";
    throw new UserError(`${name} is not UTF-8: line ${count(line)}, byte ${count(at + 1)} of the file (0x${bytes[at].toString(16).padStart(2, "0")}); ${hint}.`);
  }
}

/** Where the first sequence begins that is no UTF-8 (Unicode 15, table 3-7). */
function firstBadByte(bytes) {
  const SECOND = { 0xe0: [0xa0, 0xbf], 0xed: [0x80, 0x9f], 0xf0: [0x90, 0xbf], 0xf4: [0x80, 0x8f] };
  for (let i = 0; i < bytes.length; ) {
    const first = bytes[i];
    const more = first < 0x80 ? 0 : first < 0xc2 ? -1 : first < 0xe0 ? 1 : first < 0xf0 ? 2 : first < 0xf5 ? 3 : -1;
    if (more < 0) return i;
    for (let j = 1; j <= more; j++) {
      const [low, high] = (j === 1 && SECOND[first]) || [0x80, 0xbf];
      if (!(bytes[i + j] >= low && bytes[i + j] <= high)) return i;
    }
    i += more + 1;
  }
  return bytes.length - 1;
}

/** A file that is named like a table, or whose lines have tabs, all as many, is no list of words. */
function refuseTable(name, all) {
  const lines = all.slice(0, 20).filter(Boolean);
  if (!lines.length) return;
  const cells = [",", "\t", ";"].map((delimiter) => lines[0].split(delimiter)).sort((a, b) => b.length - a.length)[0];
  const tabs = new Set(lines.map((line) => line.split("\t").length - 1));
  const named = /\.(csv|tsv)(\.|$)/i.test(name);
  if (cells.length > 1 && (named || (lines.length > 2 && tabs.size === 1 && !tabs.has(0)))) {
    const shown = cells.slice(0, 9).map((cell) => cell.trim().slice(0, 40)).join(", ");
    throw new UserError(`${name} is a table (${shown}): take the column that holds the words, one word a line.`);
  }
}

/** Python's round(): to the even number at a half. */
function round(x) {
  const low = Math.floor(x);
  return x - low === 0.5 ? low + (low % 2) : Math.round(x);
}

/**
 * @typedef {{ name: string, characters: string[], codes: Uint16Array, offsets: Uint32Array, block_size: number, too_long: number }} List
 * @typedef {{ train: Uint32Array, validation: Uint32Array, test: Uint32Array }} Parts indices of words
 */

/**
 * The words of each part, at random as words.split() has them.
 * @param {List} list
 * @param {string} name of the protocol
 * @returns {Parts}
 */
export function split(list, name, seed = 0) {
  const protocol = PROTOCOLS[name];
  const pool = indices(list, protocol.distinct);
  const nTest = Math.max(1, Math.min(round(pool.length * protocol.test_fraction), protocol.max_test_words ?? Infinity));
  const nVal = protocol.val_fraction ? Math.max(1, round(pool.length * protocol.val_fraction)) : 0;
  if (pool.length <= nTest + nVal) {
    throw new UserError(`${list.name} holds ${pool.length} ${protocol.distinct ? "distinct words" : "words"}; protocol ${name} needs at least ${nTest + nVal + 1} to train on some and test on others.`);
  }
  new Generator([deriveSeed(seed, "split")]).shuffle(pool);
  return { test: pool.subarray(0, nTest), validation: pool.subarray(nTest, nTest + nVal), train: pool.subarray(nTest + nVal) };
}

/** Of every word, or of each word that is there several times the first. */
function indices(list, distinct) {
  const n = list.offsets.length - 1;
  if (!distinct) return Uint32Array.from({ length: n }, (_, i) => i);
  const seen = new Set();
  const found = [];
  for (let i = 0; i < n; i++) {
    const key = String.fromCharCode(...list.codes.subarray(list.offsets[i], list.offsets[i + 1]));
    if (seen.has(key)) continue;
    seen.add(key);
    found.push(i);
  }
  return Uint32Array.from(found);
}

/** How often each token id begins one of these words. */
export function firstCounts(list, words) {
  const found = Array(list.characters.length + FIRST_CHARACTER).fill(0);
  for (const i of words) found[list.codes[list.offsets[i]]]++;
  return found;
}

/** END w1 END w2 ... END, and where each word's sequence begins and how long it is (batches.Tape). `start`: WordStart. */
export function tape(list, words, start) {
  const tokens = [END];
  const [starts, lengths] = [new Int32Array(words.length), new Int32Array(words.length)];
  const fed = start.end_fed ? 1 : 0;
  words.forEach((word, i) => {
    starts[i] = tokens.length - fed;
    for (let k = list.offsets[word]; k < list.offsets[word + 1]; k++) tokens.push(list.codes[k]);
    lengths[i] = tokens.length - starts[i];
    tokens.push(END);
  });
  return { tokens: Int32Array.from(tokens), starts, lengths, unscored: start.end_fed && !start.first_scored ? 1 : 0 };
}

/** How a word begins for a model (protocol.WordStart.of). */
export function wordStart(protocol, train) {
  const { start_token: fed } = PROTOCOLS[protocol];
  return { end_fed: fed || train.batching === "stream", first_scored: fed };
}
