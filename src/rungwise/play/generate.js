// Generate: draw words as one likes them, and see which stand in training.

import { byId, el, minus, percent, replace, word } from "./dom.js";
import { drawWord, randomNumbers } from "./sample.js";
import { decode, encode, inTraining } from "./text.js";

const N_WORDS = 10;
const kept = { settings: "", number: 0, words: [] };

export function generate(app) {
  const { members } = app.list;
  byId("generate-rate").textContent = members
    ? `A word counts as in training where a compact filter finds it; for a new word it is wrong ${rate(members.false_positives)}.`
    : "The list was not at hand when this page was made, so it cannot tell new words from training words.";
  for (const name of ["t", "p"]) byId(`${name}-value`).textContent = app.state[name].toFixed(2);
  if (!kept.words.length) draw(app);
  else show(app);
}

const rate = (p) => (p < 1e-3 ? `about once in ${Math.round(1 / p / 100) * 100} times` : `${percent(p)} of the time`);

/** Ten more. The same rung, settings and seed draw the same words again, in the same order. */
export function draw(app) {
  const { rung, t, k, p, prefix, seed } = app.state;
  const { ids, unknown } = encode(app.list, prefix, true);
  byId("generate-note").textContent = unknown.length ? `Not in this list's alphabet: ${unknown.join(" ")}` : "";
  const settings = JSON.stringify([rung, t, k, p, prefix, seed]);
  if (settings !== kept.settings) Object.assign(kept, { settings, number: 0 });
  const sampling = { temperature: t, topK: k, topP: p, prefix: ids };
  for (let i = 0; i < N_WORDS; i++) {
    kept.words.unshift({ rung: app.rung().title, ...drawWord(app.list, app.model(), randomNumbers(seed, kept.number++), sampling) });
  }
  show(app);
}

export function clear(app) {
  Object.assign(kept, { settings: "", words: [] });
  show(app);
}

export async function copy(app) {
  const text = kept.words.map(({ ids }) => decode(app.list, ids)).join("\n");
  const said = await navigator.clipboard.writeText(text).then(() => "Copied.", () => "The browser refused; select the list and copy it.");
  byId("generate-said").textContent = said;
}

function show(app) {
  const tags = kept.words.map(({ ids }) => inTraining(app.list, ids));
  const known = tags.filter(Boolean).length;
  byId("generate-said").textContent = kept.words.length
    ? `${kept.words.length} words` + (app.list.members ? `, ${kept.words.length - known} new, ${known} in training.` : ".") : "No words yet.";
  const several = new Set(kept.words.map(({ rung }) => rung)).size > 1;
  byId("generate-words").dir = app.list.direction;
  replace(byId("generate-words"), kept.words.map(({ ids, rung, logLikelihood }, i) =>
    el("li", {}, word(decode(app.list, ids)),
      tags[i] !== null && el("span", { class: tags[i] ? "tag known" : "tag new" }, tags[i] ? "in training" : "new"),
      el("span", { class: "number soft small" }, minus(logLikelihood, 1)),
      several && el("span", { class: "from soft small" }, rung))));
}
