// What one takes along: a link to this view, and a picture of it.

import { byId, el } from "./dom.js";

const SCALE = 2; // pixels of the picture a pixel of the page
const LEFT_OUT = "nav, .settings, .buttons, .share, script, noscript, [hidden], footer, .note:empty";

const say = (text) => (byId("share-said").textContent = text);

export async function copyLink(address) {
  say(await navigator.clipboard.writeText(address).then(() => "Link copied.", () => "The browser refused; copy the address of this page."));
}

/** Save the view as a PNG, under a caption that says what it shows. */
export async function savePicture(name, caption) {
  try {
    const picture = await png(copyOf(caption));
    const link = el("a", { href: picture, download: `${name.replace(/[^\w.-]+/g, "-")}.png` });
    link.click();
    setTimeout(() => URL.revokeObjectURL(picture), 60_000);
    say("Picture saved.");
  } catch {
    say("This browser cannot make the picture; take a screenshot.");
  }
}

/** The page without its controls, as an element that shows the same anywhere: canvases become images, fields keep
 * what was typed, and colours are those of now. */
function copyOf(caption) {
  const copy = el("div", { class: "picture" });
  copy.append(...[...document.body.cloneNode(true).children]);
  const canvases = document.querySelectorAll("main canvas");
  copy.querySelectorAll("main canvas").forEach((canvas, i) => canvas.replaceWith(el("img", { src: canvases[i].toDataURL() })));
  const fields = document.querySelectorAll("main input, main select");
  copy.querySelectorAll("main input, main select").forEach((field, i) => keep(field, fields[i]));
  copy.querySelectorAll(LEFT_OUT).forEach((element) => element.remove());
  copy.querySelector("h1").after(el("p", { class: "lead" }, caption));
  const now = getComputedStyle(document.documentElement);
  for (const [name] of document.querySelector("style").textContent.matchAll(/--[\w-]+(?=:)/g)) copy.style.setProperty(name, now.getPropertyValue(name));
  return copy;
}

function keep(copy, field) {
  copy.setAttribute("value", field.value);
  copy.toggleAttribute("checked", field.checked);
  if (field.selectedIndex >= 0) copy.options[field.selectedIndex].setAttribute("selected", "");
}

/** The address of a PNG of an element, drawn as the browser draws it. */
async function png(copy) {
  const width = document.body.offsetWidth;
  copy.style.setProperty("width", `${width}px`);
  document.body.append(copy); // where it is measured
  const height = Math.ceil(copy.getBoundingClientRect().height);
  copy.remove();
  const style = new XMLSerializer().serializeToString(document.querySelector("style"));
  const page = new XMLSerializer().serializeToString(copy);
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(
    `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}"><foreignObject width="100%" height="100%">${style}${page}</foreignObject></svg>`)}`;
  await image.decode();
  const canvas = el("canvas", { width: width * SCALE, height: height * SCALE });
  const pen = canvas.getContext("2d");
  pen.scale(SCALE, SCALE);
  pen.drawImage(image, 0, 0);
  const blob = await new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
  return URL.createObjectURL(blob);
}
