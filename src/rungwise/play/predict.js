// Predict: what the model expects after each character of a word, and how surprised it is by what comes.

import { byId, count, el, likeliest, minus, replace, svg } from "./dom.js";
import { readWord } from "./sample.js";
import { END, direction } from "./text.js";

const N_BARS = 6;

export function predict(app) {
  const ids = app.ids("predict-note");
  const positions = ids.length ? readWord(app.model(), ids) : [];
  const cards = positions.map(({ token, next, probabilities }, t) =>
    card(app, t || !app.model().start.end_fed ? token : null, t ? positions[t - 1].surprise : null, likeliest(app, probabilities, N_BARS, next, "bars")));
  if (positions.length) cards.push(card(app, END, positions.at(-1).surprise, null));
  const output = byId("predict-cards");
  output.dir = direction(app.state.word);
  replace(output, cards);
  replace(byId("predict-sum"), positions.length ? summary(app, positions) : []);
}

/** A character (null: the start) with its surprise, and under it what may come next. A surprise of ln(vocabulary) is pure guessing. */
function card(app, token, surprise, below) {
  const start = token === null;
  const sign = start ? "start" : app.glyph(token);
  const heat = surprise === null ? 0 : Math.min(1, surprise / (1.6 * Math.log(app.list.characters.length + 1)));
  return el("li", { class: "card position" },
    el("div", { class: "tile", "--heat": heat },
      el("bdi", { class: `word ${[...sign].length > 2 ? "named" : ""}` }, sign),
      el("span", { class: "number" }, surprise === null ? (start ? "" : "given") : surprise.toFixed(2))),
    below);
}

function summary(app, positions) {
  const total = -positions.reduce((sum, { surprise }) => sum + surprise, 0);
  const scored = positions.filter(({ surprise }) => surprise !== null).length;
  const given = app.model().start.first_scored ? "" : " (the first character is given, not scored)";
  const said = [`Log-likelihood ${minus(total, 2)} nats over ${scored} predictions${given}, ${minus(total / scored, 2)} each. `];
  const { quantiles } = app.rung();
  if (!quantiles) return el("p", {}, said, "The list was not at hand when this page was made, so there is no rank.");
  const below = quantiles.filter((value) => value < total).length;
  const share = Math.round((100 * below) / quantiles.length);
  const above = (1 - below / quantiles.length) * app.list.n_train;
  said.push(el("strong", {}, `More likely than ${share} % of the training words`),
    `: its rank is about ${count(Math.round(Number(Math.max(1, above).toPrecision(2))))} of ${count(app.list.n_train)}. Long words are less likely than short ones.`);
  return [el("p", {}, said), histogram(quantiles, total, share)];
}

/** How likely the training words are, and where this word stands among them. */
function histogram(quantiles, value, share) {
  const [bins, width, height] = [48, Math.min(480, byId("predict-sum").clientWidth), 64];
  const [low, high] = [quantiles[2], quantiles.at(-1)];
  const counts = new Array(bins).fill(0);
  const bin = (x) => Math.max(0, Math.min(bins - 1, Math.floor(((x - low) / (high - low || 1)) * bins)));
  quantiles.forEach((q) => counts[bin(q)]++);
  const [most, mine] = [Math.max(...counts), bin(value)];
  return svg("svg", { class: "histogram", viewBox: `0 0 ${width} ${height + 30}`, role: "img",
    "aria-label": `Log-likelihoods of the training words, from ${minus(low, 0)} to ${minus(high, 0)}; this word is above ${share} % of them.` },
    counts.map((n, i) => svg("rect", { class: i === mine && "mine", x: (i * width) / bins, width: width / bins - 1,
      y: height - (n / most) * (height - 6), height: (n / most) * (height - 6) + (i === mine ? 2 : 0) })),
    svg("path", { class: "mark", d: `M${((mine + 0.5) * width) / bins} ${height + 4} l-6 9 h12 Z` }),
    svg("text", { x: 0, y: height + 28 }, `unlikely words: ${minus(low, 0)}`),
    svg("text", { x: width, y: height + 28, "text-anchor": "end" }, `likely words: ${minus(high, 0)}`));
}
