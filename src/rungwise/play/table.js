// One column of a table: CSV or TSV with a header, read as Python's csv reads it, which the command line uses.

import { UserError, count } from "./source.js";
import { comparable } from "./text.js";

const DELIMITERS = [",", "\t", ";"];
const LARGEST_CELL = 131_072;
const [MOST_SHOWN, LONGEST_SHOWN] = [40, 80]; // of titles in a message
const NEAR = 0.6;

/**
 * A text's lines. One by one: a list of millions of them, blank ones too, would take more memory than the text.
 * @param {string} text
 * @returns {Generator<string, undefined>}
 */
export function* linesOf(text) {
  for (let at = 0, end; at < text.length; at = end + 1) {
    end = text.indexOf("\n", at);
    if (end < 0) end = text.length;
    yield text.slice(at, end);
  }
}

const QUOTE = '"';

/**
 * Rows of cells. Strict: a quote that is never closed would otherwise swallow the rest of the file without a word.
 * @returns {Generator<string[], undefined>}
 */
function* rows(text, delimiter, name) {
  let [row, cell, state, number] = [/** @type {string[]} */ ([]), "", "begin", 0]; // begin, plain, quoted or closed
  const wrong = (what) => new UserError(`${name}: line ${count(number)}: ${what}.`);
  const take = () => {
    row.push(cell);
    [cell, state] = ["", "begin"];
  };
  for (const line of linesOf(text)) {
    number++;
    for (const character of line) {
      if (state === "quoted") {
        if (character === QUOTE) state = "closed";
        else cell += character;
      } else if (character === delimiter) take();
      else if (state === "begin" && character === QUOTE) state = "quoted";
      else if (state === "closed" && character !== QUOTE) throw wrong(`'${delimiter}' expected after '"'`);
      else {
        cell += character;
        state = state === "closed" ? "quoted" : "plain";
      }
      if (cell.length > LARGEST_CELL) throw wrong(`field larger than field limit (${LARGEST_CELL})`);
    }
    if (state === "quoted") {
      cell += "\n";
      continue;
    }
    if (line) take();
    yield row;
    row = [];
  }
  if (state === "quoted") throw wrong("unexpected end of data (a quote that is not closed?)");
}

/** What parts the cells of a table that begins so: what finds the column, and of several what finds more titles. */
function delimiterOf(text, column = null) {
  const titles = new Map();
  for (const delimiter of DELIMITERS) {
    try {
      titles.set(delimiter, (rows(text, delimiter, "").next().value ?? []).map((title) => comparable(title)));
    } catch (error) {
      if (!(error instanceof UserError)) throw error;
    }
  }
  const rank = (delimiter) => (titles.get(delimiter).includes(column) ? 1e9 : 0) + titles.get(delimiter).length;
  return [...titles.keys()].reduce((a, b) => (rank(b) > rank(a) ? b : a), titles.keys().next().value ?? ",");
}

const shown = (titles) => titles.slice(0, MOST_SHOWN).map((title) => title.slice(0, LONGEST_SHOWN).replaceAll("\n", " ")).join(", ");

/** A file that is named like a table and begins like one is no list. */
export function refuseTable(text, name) {
  if (!/\.(csv|tsv)(\.|$)/i.test(name)) return;
  const header = linesOf(text).next().value ?? "";
  const titles = header.split(delimiterOf(header));
  if (titles.length > 1) throw new UserError(`${name} is a table: name the column that holds the words (${shown(titles)}). Where each line is one word, rename it to .txt.`);
}

/**
 * The cells of a column; null: of a row with more or fewer cells than the header has.
 * @param {string} text
 * @param {string} name
 * @param {string} column
 * @returns {Generator<string | null>}
 */
export function* columnOf(text, name, column) {
  const [wanted, body] = [comparable(column), text.replace(/^\n+/, "")];
  const table = rows(body, delimiterOf(body, wanted), name);
  const titles = (table.next().value ?? []).map((title) => comparable(title));
  const at = titles.indexOf(wanted);
  if (at < 0) throw new UserError(`${name} has no column ${quoted(wanted)}; ${closest(wanted, titles)}`);
  for (const row of table) {
    yield row.length === titles.length ? row[at] : row.some((cell) => comparable(cell)) ? null : "";
  }
}

const quoted = (text) => (text.includes("'") && !text.includes(QUOTE) ? `"${text}"` : `'${text.replace(/[\\']/g, "\\$&")}'`);

/** The nearest known title, or all of them where none is near (errors.closest, difflib). */
function closest(wanted, titles) {
  const near = titles.filter((title) => title.length <= LONGEST_SHOWN && wanted.length <= LONGEST_SHOWN)
    .map((title) => ({ title, ratio: title || wanted ? (2 * inCommon(title, wanted)) / (title.length + wanted.length) : 1 }))
    .filter(({ ratio }) => ratio >= NEAR)
    .sort((a, b) => b.ratio - a.ratio || (a.title < b.title ? 1 : -1));
  return near.length ? `did you mean ${quoted(near[0].title)}?` : `choose from: ${shown(titles)}.`;
}

/** Characters that two texts share in their order: the longest run, and so on to its left and to its right. */
function inCommon(a, b) {
  let [i, j, n] = [0, 0, 0];
  for (let from = 0; from < a.length; from++) {
    for (let to = 0; to < b.length; to++) {
      let same = 0;
      while (from + same < a.length && a[from + same] === b[to + same]) same++;
      if (same > n) [i, j, n] = [from, to, same];
    }
  }
  return n && n + inCommon(a.slice(0, i), b.slice(0, j)) + inCommon(a.slice(i + n), b.slice(j + n));
}
