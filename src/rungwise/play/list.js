// A list of words, as words.py makes one of what source.js and table.js read, with its messages; and its split.

import { deriveSeed, Generator } from "./random.js";
import { ELSEWHERE, UserError, count, textOf } from "./source.js";
import { columnOf, linesOf, refuseTable } from "./table.js";
import { comparable } from "./text.js";

export const END = 1;
const FIRST_CHARACTER = 2;
const MAX_LENGTH = 64;
/** What a page takes: beyond, rungwise train does it. */
const MOST_WORDS = 1_000_000;
const MOST_CHARACTERS = 2_000;

export const PROTOCOLS = {
  article: { start_token: false, distinct: false, val_fraction: 0, test_fraction: 0.1, max_test_words: null },
  makemore: { start_token: true, distinct: false, val_fraction: 0, test_fraction: 0.1, max_test_words: 1000 },
  strict: { start_token: true, distinct: true, val_fraction: 0.1, test_fraction: 0.1, max_test_words: null },
};
export const SCORED = { true: "every character and the end", false: "characters 2..n and the end" };

/**
 * Words as token ids: word i is codes[offsets[i]] to codes[offsets[i + 1]].
 * @param {Uint8Array} bytes of text
 * @param {string} name
 * @param {{ column?: string, lowercase?: boolean }} how as ListConfig has them; a column of a table, or each line a word
 * @returns {List}
 */
export function readList(bytes, name, { column = "", lowercase = false } = {}) {
  const text = textOf(bytes, name);
  if (!column) refuseTable(text, name);
  const { words, dropped } = wordsOf(column ? columnOf(text, name, column) : linesOf(text), name, lowercase);
  if (!words.length) throw new UserError(`${name} holds no words${reason(dropped)}.`);
  const points = new Map();
  for (const word of words) for (const character of word) points.set(character, 0);
  if (points.has("\0")) throw new UserError(`${name} holds zero characters (U+0000): it is no text, or UTF-16 without its mark (save it as UTF-8).`);
  if (points.size > MOST_CHARACTERS) throw new UserError(`${name} has ${count(points.size)} different characters; a page takes ${count(MOST_CHARACTERS)}. ${ELSEWHERE}`);
  const characters = [...points.keys()].sort((a, b) => a.codePointAt(0) - b.codePointAt(0));
  characters.forEach((character, i) => points.set(character, i + FIRST_CHARACTER));
  return { name, characters, ...encoded(words, points), dropped };
}

/** The words of lines or cells (words.clean), and what of them is no word of a list. */
function wordsOf(cells, name, lowercase) {
  const [words, dropped] = [/** @type {string[]} */ ([]), { long: 0, broken: 0, misfit: 0 }];
  for (const cell of cells) {
    if (cell === null) dropped.misfit++;
    else if (cell) {
      // A word of MAX_LENGTH characters is no longer than this, whatever its marks compose to.
      const word = cell.length > 64 * MAX_LENGTH ? cell : comparable(lowercase ? cell.toLowerCase() : cell);
      if (!word) continue;
      if (word.includes("\n")) dropped.broken++;
      else if (word.length > 2 * MAX_LENGTH || [...word].length > MAX_LENGTH) dropped.long++;
      else words.push(word);
      if (words.length > MOST_WORDS) throw new UserError(`${name} holds more than ${count(MOST_WORDS)} words, all that a page takes. ${ELSEWHERE}`);
    }
  }
  return { words, dropped };
}

/** Why there is no word. */
function reason({ long, broken, misfit }) {
  if (long) return ` of at most ${MAX_LENGTH} characters`;
  return broken ? " on one line" : misfit ? " in rows with as many cells as the header" : "";
}

/** Behind a number of words: what was left out. */
export function leftOut({ long, broken, misfit }) {
  const reasons = [[long, "too long"], [broken, "with a line break"], [misfit, "in rows with more or fewer cells than the header"]];
  return reasons.filter(([n]) => n).map(([n, why]) => `, ${count(n)} ${why} and dropped`).join("");
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

/** Python's round(): to the even number at a half. */
function round(x) {
  const low = Math.floor(x);
  return x - low === 0.5 ? low + (low % 2) : Math.round(x);
}

/**
 * @typedef {{ name: string, characters: string[], codes: Uint16Array, offsets: Uint32Array, block_size: number,
 *   dropped: { long: number, broken: number, misfit: number } }} List
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
  const { codes, offsets } = list;
  const tokens = new Int32Array(words.reduce((n, word) => n + offsets[word + 1] - offsets[word] + 1, 1)).fill(END);
  const [starts, lengths] = [new Int32Array(words.length), new Int32Array(words.length)];
  const fed = start.end_fed ? 1 : 0;
  let at = 1;
  words.forEach((word, i) => {
    starts[i] = at - fed;
    tokens.set(codes.subarray(offsets[word], offsets[word + 1]), at);
    at += offsets[word + 1] - offsets[word];
    lengths[i] = at++ - starts[i];
  });
  return { tokens, starts, lengths, unscored: start.end_fed && !start.first_scored ? 1 : 0 };
}

/** How a word begins for a model (protocol.WordStart.of). */
export function wordStart(protocol, train) {
  const { start_token: fed } = PROTOCOLS[protocol];
  return { end_fed: fed || train.batching === "stream", first_scored: fed };
}
