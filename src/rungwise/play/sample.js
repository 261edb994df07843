// Drawing words from a model, and reading one, as generate.py and evaluate.py do.

import { newMemory, softmax, step } from "./forward.js";
import { END, PAD, asListed } from "./text.js";

/** Numbers in [0, 1) that a seed and a word's number fix: a counter through Murmur3's finaliser. */
export function randomNumbers(seed, number) {
  let counter = mix(mix(seed | 0) + number);
  return () => mix((counter = (counter + 0x9e3779b9) | 0)) / 2 ** 32;
}

function mix(x) {
  x = Math.imul(x ^ (x >>> 16), 0x85ebca6b);
  x = Math.imul(x ^ (x >>> 13), 0xc2b2ae35);
  return (x ^ (x >>> 16)) >>> 0;
}

/** What is fed before a word's first character: END, what the word is given, or nothing. */
const before = ({ start, given }) => (start.end_fed ? [END] : given ? [given] : []);

/** A word as the model meets it: tokens fed, what came of each, the token that in truth followed, and how surprising
    it was; null where that is not scored. */
export function readWord(model, ids) {
  const tokens = [...before(model), ...ids];
  const memory = newMemory(model);
  return tokens.map((token, t) => {
    const found = step(model, token, memory);
    const probabilities = softmax(found.logits);
    const next = tokens[t + 1] ?? END;
    return { token, next, ...found, probabilities, surprise: scored(model, t) ? -Math.log(probabilities[next]) : null };
  });
}

/** Does the prediction at place t of a word's tokens count? The first one of a model of the stream does not. */
const scored = ({ start }, t) => t > 0 || !start.end_fed || start.first_scored;

const MOST_TRIES = 1000;

/** Draw one word that a list could hold: what is none is drawn anew. Its log-likelihood is that of what was drawn, the
 * whole word's, as readWord has it: temperature 1, nothing cut off. */
export function drawWord(list, model, random, sampling = {}) {
  for (let tries = 1; ; tries++) {
    const { ids, logLikelihood } = drawIds(list, model, random, sampling);
    const word = asListed(list, ids, sampling.prefix ?? []);
    if (word || tries === MOST_TRIES) return { ids: word ?? ids, logLikelihood };
  }
}

function drawIds(list, model, random, { temperature = 1, topK = 0, topP = 1, prefix = [] }) {
  const ids = [...prefix];
  const start = before(model);
  if (!start.length && !ids.length) ids.push(pick(list.firsts, random));
  const given = [...start, ...ids];
  const memory = newMemory(model);
  let logLikelihood = 0;
  let logits;
  given.forEach((token, t) => {
    if (t && scored(model, t - 1)) logLikelihood += Math.log(softmax(logits)[token]);
    ({ logits } = step(model, token, memory));
  });
  for (;;) {
    const probabilities = softmax(logits);
    logits[PAD] = -Infinity;
    logits.fill(-Infinity, list.characters.length + 2); // what a word is given comes before it
    if (!ids.length) logits[END] = -Infinity; // a word has at least one character
    const full = ids.length >= list.block_size - 1; // no room for another: the word ends, whatever was drawn
    const token = full ? END : choose(logits, random, temperature, topK, topP);
    if (ids.length || scored(model, 0)) logLikelihood += Math.log(probabilities[token]);
    if (token === END) return { ids, logLikelihood };
    ids.push(token);
    ({ logits } = step(model, token, memory));
  }
}

function choose(logits, random, temperature, topK, topP) {
  if (temperature === 0) return logits.indexOf(Math.max(...logits));
  const ranked = [...logits.keys()].sort((a, b) => logits[b] - logits[a]);
  const kept = topK ? ranked.slice(0, topK) : ranked;
  const probabilities = softmax(kept.map((id) => logits[id] / temperature));
  let mass = 0;
  const cut = probabilities.findIndex((p) => (mass += p) >= topP); // the mass before the next already suffices
  return kept[pick(cut < 0 ? probabilities : probabilities.slice(0, cut + 1), random)];
}

/** An index, with probability in proportion to its weight. */
function pick(weights, random) {
  let left = random() * weights.reduce((a, b) => a + b, 0);
  const found = weights.findIndex((weight) => (left -= weight) < 0);
  return found < 0 ? weights.length - 1 : found;
}
