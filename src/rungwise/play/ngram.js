// The losses that a network has to beat: interpolated Kneser-Ney models by counting, as ngram.py defines them.

import { END } from "./list.js";

const DISCOUNT = 0.75;
const ORDER = 7;
const MOST_COUNTED = 1 << 23; // so many tokens times orders: beyond, a page's memory takes fewer orders

const orderFor = ({ tokens }) => Math.max(2, Math.min(ORDER, Math.floor(MOST_COUNTED / tokens.length)));

/** Nats a scored token on `heldOut` of the orders 1 to `order`, counted on `train`; both tapes of list.tape. */
export function kneserNey(train, heldOut, vocabSize, order = orderFor(train)) {
  const levels = fit(train, vocabSize, order);
  const totals = new Float64Array(order);
  let n = 0;
  for (const event of events(heldOut)) {
    n++;
    score(levels, event, vocabSize, totals);
  }
  return Array.from(totals, (total) => total / n);
}

/** Predictions of a tape: what follows, and how to ask for the j-th symbol before it; the start is END. */
function* events({ tokens, starts, lengths }) {
  for (let i = 0; i < starts.length; i++) {
    const unread = tokens[starts[i]] !== END; // the first character is given
    for (let read = 1; read <= lengths[i]; read++) {
      const at = starts[i] + read;
      yield { predicted: tokens[at], depth: read + (unread ? 1 : 0), before: (j) => (read >= j ? tokens[at - j] : END) };
    }
  }
}

/**
 * A level: what was met with j symbols of history. Grams and contexts are numbered as they come.
 * @returns {{ grams: Map<number, number>, contexts: Map<number, number>, contextOf: number[], parent: number[], plain: number[], continued: number[] }}
 */
const newLevel = () => ({ grams: new Map(), contexts: new Map(), contextOf: [], parent: [], plain: [], continued: [] });

function fit(tape, vocabSize, order) {
  const levels = Array.from({ length: order }, newLevel);
  for (const { predicted, depth, before } of events(tape)) {
    let gram = 0;
    let context = 0;
    for (let j = 0; j < order && j <= depth; j++) {
      const level = levels[j];
      const symbol = j ? before(j) : predicted;
      const key = gram * vocabSize + symbol;
      const parent = gram;
      context = j ? number(level.contexts, context * vocabSize + symbol) : number(level.contexts, 0);
      gram = number(level.grams, key);
      if (gram === level.plain.length) {
        level.plain.push(0);
        level.parent.push(parent);
        level.contextOf.push(context);
      }
      level.plain[gram]++;
    }
  }
  levels.forEach((level, j) => sum(level, levels[j + 1]));
  return levels;
}

function number(map, key) {
  const found = map.get(key);
  if (found !== undefined) return found;
  map.set(key, map.size);
  return map.size - 1;
}

/** Continuation counts, from the next level, and sums over what follows each context. */
function sum(level, next) {
  const continued = new Float64Array(level.plain.length);
  for (const parent of next?.parent ?? []) continued[parent]++;
  level.continued = continued.map((n, gram) => n || level.plain[gram]);
  const empty = () => new Float64Array(level.contexts.size);
  Object.assign(level, { totalPlain: empty(), totalContinued: empty(), followers: empty() });
  level.contextOf.forEach((context, gram) => {
    level.totalPlain[context] += level.plain[gram];
    level.totalContinued[context] += level.continued[gram];
    level.followers[context]++;
  });
}

/** Add the nats of one event under each order. */
function score(levels, { predicted, depth, before }, vocabSize, totals) {
  let [lower, context, gram, known] = [1 / (vocabSize - 1), 0, -1, true];
  levels.forEach((level, j) => {
    let probability = lower;
    if (known && j <= depth) {
      const symbol = j ? before(j) : predicted;
      context = level.contexts.get(j ? context * vocabSize + symbol : 0) ?? -1;
      gram = j && gram < 0 ? -1 : level.grams.get((j ? gram : 0) * vocabSize + symbol) ?? -1;
      known = context >= 0;
      if (known) {
        const below = DISCOUNT * level.followers[context] * lower;
        const share = (counts, sums) => (Math.max((gram < 0 ? 0 : counts[gram]) - DISCOUNT, 0) + below) / sums[context];
        probability = share(level.plain, level.totalPlain);
        lower = share(level.continued, level.totalContinued);
      }
    } else known = false;
    totals[j] -= Math.log(probability);
  });
}
