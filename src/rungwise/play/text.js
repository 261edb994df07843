// Words as tokens and as text. A symbol is a code point, as in words.py, never a UTF-16 unit; or, where the alphabet is
// a list, any of it.

import { bytesOf } from "./forward.js";

export const PAD = 0;
export const END = 1;
const FIRST_CHARACTER = 2;

/** The list as the page has it, and what is looked up often. */
export function openList(values) {
  const characters = [...values.characters];
  const ids = new Map(characters.map((character, i) => [character, i + FIRST_CHARACTER]));
  const lengths = [...new Set(characters.map((character) => character.length))].sort((a, b) => b - a);
  const filter = (words) => words && { ...words, filter: bytesOf(words.data) };
  const joined = characters.join("");
  return { ...values, characters, conditions: values.conditions ?? [], ids, lengths, members: filter(values.members), held_out: filter(values.held_out), direction: direction(values.example || joined) };
}

/** The word that a text is, as sources.py has it: in Unicode's composed form, without outer blanks. `beginning`: of a
 * word, where a blank that ends it stands inside the word. */
export function comparable(text, beginning = false) {
  const composed = text.normalize("NFC").replace(/^[\s\x1c-\x1f\x85]+/, "");
  return beginning ? composed : composed.replace(/[\s\x1c-\x1f\x85]+$/, "");
}

/** The symbols of a text, from the left on the longest that the list has; where it has none, a code point. */
export function symbols(list, text) {
  const found = [];
  for (let at = 0; at < text.length; at += found.at(-1).length) {
    const n = list.lengths.find((length) => at + length <= text.length && list.ids.has(text.slice(at, at + length)));
    found.push(n ? text.slice(at, at + n) : String.fromCodePoint(text.codePointAt(at) ?? 0));
  }
  return found;
}

/** The ids of a word, and the characters that the list does not have. Capitals are forgiven. */
export function encode(list, word, beginning = false) {
  const found = { ids: /** @type {number[]} */ ([]), unknown: /** @type {string[]} */ ([]), cut: false };
  for (const character of symbols(list, comparable(word, beginning))) {
    const id = list.ids.get(character) ?? list.ids.get(character.toLowerCase());
    if (id === undefined) found.unknown.push(character);
    else found.ids.push(id);
  }
  found.cut = found.ids.length > list.block_size - 1;
  found.ids = found.ids.slice(0, list.block_size - 1);
  return found;
}

export const decode = (list, ids) => ids.map((id) => list.characters[id - FIRST_CHARACTER]).join("");

/** The ids of the word that was drawn, as a list would hold it; null where none of this alphabet and length could, or
 * where it does not begin with the prefix any more. */
export function asListed(list, ids, prefix) {
  const found = symbols(list, comparable(decode(list, ids))).map((character) => list.ids.get(character));
  const fits = found.length && found.length < list.block_size && !found.includes(undefined);
  return fits && prefix.every((id, i) => found[i] === id) ? found : null;
}

/** The id of what a word is given; 0 where the list has no conditions. */
export const conditionId = (list, value) => list.conditions.length
  && list.characters.length + FIRST_CHARACTER + Math.max(0, list.conditions.indexOf(value));

const NAMES = { " ": "space", "\u200c": "no join", "\u200d": "join" };

/** A token as one can see it: combining marks on a circle, spaces, joiners and controls by name. */
export function glyph(list, id) {
  if (id === END) return "end";
  if (id === PAD) return "pad";
  if (id >= list.characters.length + FIRST_CHARACTER) return list.conditions[id - list.characters.length - FIRST_CHARACTER];
  const character = list.characters[id - FIRST_CHARACTER];
  if (Object.hasOwn(NAMES, character)) return NAMES[character];
  if (/^\p{M}$/u.test(character)) return `\u25cc${character}`;
  if (/^[\p{C}\p{Z}]$/u.test(character)) return `U+${character.codePointAt(0).toString(16).toUpperCase()}`;
  return character;
}

/** Which way a word runs: that of its first letter with a direction (the right-to-left blocks of Unicode). */
export function direction(word) {
  const letter = word.match(/\p{L}/u)?.[0] ?? "";
  return /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\u{10800}-\u{10fff}\u{1e800}-\u{1efff}]/u.test(letter) ? "rtl" : "ltr";
}

/** What a word is to the split: "in training", "held out" (in the list, but not trained on) or "new". Null where the
 * page does not know; wrong at the rate that the filters state. */
export function tagOf(list, ids) {
  if (!list.members) return null;
  return holds(list.members, ids) ? "in training" : holds(list.held_out, ids) ? "held out" : "new";
}

function holds({ bits, hashes, filter }, ids) {
  const [first, second] = [fnv1a(ids, 0x811c9dc5), (fnv1a(ids, 0x01000193) | 1) >>> 0];
  for (let i = 0; i < hashes; i++) {
    const bit = (first + i * second) % bits;
    if (!(filter[bit >> 3] & (1 << (bit & 7)))) return false;
  }
  return true;
}

export function fnv1a(ids, basis) {
  return ids.reduce((h, id) => Math.imul(h ^ id, 0x01000193), basis) >>> 0;
}
