// The places of the typed word: their signs, and the one that is looked at.

import { el, word } from "./dom.js";

/** What stands at each place of a word that was read; a model with a start token reads that first. */
export const signs = (app, positions) => positions.map(({ token }, t) => (app.model().start.end_fed && t === 0 ? "start" : app.glyph(token)));

/** The chosen place, the last where none is; -1 of an empty word. */
export const chosenPlace = ({ state }, { length }) => Math.min(state.at < 0 ? length - 1 : state.at, length - 1);

/** The word, a choice of one of its places. */
export function chips(app, positions, name) {
  const at = chosenPlace(app, positions);
  return signs(app, positions).map((sign, t) => el("label", { class: "chip" },
    el("input", { type: "radio", name, value: t, checked: t === at, "data-key": `${name}${t}`, onchange: () => app.set({ at: t }) }),
    word(sign)));
}
