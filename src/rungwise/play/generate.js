// Generate: words drawn anew with every change of a control, and what each is to the split.

import { byId, el, minus, percent, replace, say, word } from "./dom.js";
import { drawWord, randomNumbers } from "./sample.js";
import { decode, encode, tagOf } from "./text.js";

const N_WORDS = 10;
const kept = { settings: "", words: [] };

export function generate(app) {
  const { rung, t, k, p, prefix, seed, given } = app.state;
  byId("generate-rate").textContent = app.list.members ? rates(app.list)
    : "The list was not at hand when this page was made, so it cannot tell new words from those of the list.";
  for (const name of ["t", "p"]) byId(`${name}-value`).textContent = app.state[name].toFixed(2);
  const { unknown } = encode(app.list, prefix, true);
  say("generate-note", unknown.length ? `Not in this list's alphabet, and ignored: ${unknown.join(" ")}` : "");
  const settings = JSON.stringify([rung, t, k, p, prefix, seed, given]);
  if (settings === kept.settings) return show(app);
  Object.assign(kept, { settings, words: [] });
  more(app);
}

const rates = ({ members, held_out }) => "In training: the word is in the training list. Held out: it is in the list, but was not trained on. "
  + `New: it is not in the list. Two compact filters tell; they take a new word for one of training ${rate(members.false_positives)}, for one held out ${rate(held_out.false_positives)}.`;
const rate = (p) => (p < 1e-3 ? `about once in ${Math.round(1 / p / 100) * 100} times` : `${percent(p)} of the time`);

/** Ten more at the head of the list. The same model, settings and seed draw the same words again, in the same order. */
export function more(app) {
  const { t, k, p, prefix, seed } = app.state;
  const sampling = { temperature: t, topK: k, topP: p, prefix: encode(app.list, prefix, true).ids };
  for (let i = 0; i < N_WORDS; i++) {
    kept.words.unshift(drawWord(app.list, app.model(), randomNumbers(seed, kept.words.length), sampling));
  }
  show(app);
}

export async function copy(app) {
  const text = kept.words.map(({ ids }) => decode(app.list, ids)).join("\n");
  const message = await navigator.clipboard.writeText(text).then(() => "Copied.", () => "The browser refused; select the list and copy it.");
  byId("generate-said").textContent = message;
}

function show(app) {
  const tags = kept.words.map(({ ids }) => tagOf(app.list, ids));
  const counts = ["new", "held out", "in training"].map((tag) => `${tags.filter((mine) => mine === tag).length} ${tag}`);
  say("generate-said", `${kept.words.length} words${app.list.members ? `: ${counts.join(", ")}.` : "."}`);
  byId("generate-words").dir = app.list.direction;
  replace(byId("generate-words"), kept.words.map(({ ids, logLikelihood }, i) =>
    el("li", {}, word(decode(app.list, ids)),
      tags[i] && el("span", { class: `tag ${tags[i].replace(" ", "-")}` }, tags[i]),
      el("span", { class: "number soft small" }, minus(logLikelihood, 1)))));
}
