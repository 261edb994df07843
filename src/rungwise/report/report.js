// Opens the fold that a link leads to, and saves figures: as SVG, as PNG, and their numbers as CSV.

const open = () => {
  for (let e = document.getElementById(location.hash.slice(1)); e; e = e.parentElement) {
    if (e.tagName === "DETAILS") e.open = true;
  }
};
addEventListener("hashchange", open);
open();

const save = (name, blob) => {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(blob);
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
};

// The figure as a picture of its own: the page's colours and font are written into it.
const standalone = (svg) => {
  const style = getComputedStyle(document.documentElement);
  const colour = (name) => style.getPropertyValue(name).trim();
  const [, , width, height] = svg.getAttribute("viewBox").split(" ").map(Number);
  const copy = svg.cloneNode(true);
  copy.setAttribute("width", width);
  copy.setAttribute("height", height);
  copy.setAttribute("font-family", "system-ui, sans-serif");
  copy.style.background = colour("--paper");
  const text = new XMLSerializer().serializeToString(copy).replace(/var\((--[\w-]+)\)/g, (_, name) => colour(name));
  return { text, width, height };
};

const png = async ({ text, width, height }, scale) => {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(text)}`;
  await image.decode();
  const canvas = Object.assign(document.createElement("canvas"), { width: width * scale, height: height * scale });
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((resolve) => canvas.toBlob(resolve, "image/png"));
};

document.addEventListener("click", async (event) => {
  const kind = event.target.dataset?.save;
  if (!kind) return;
  const figure = event.target.closest("figure");
  const drawn = standalone(figure.querySelector("svg"));
  const blob = {
    csv: () => new Blob([figure.querySelector(".data").textContent], { type: "text/csv" }),
    svg: () => new Blob([drawn.text], { type: "image/svg+xml" }),
    png: () => png(drawn, 3),
  };
  save(`${figure.id}.${kind}`, await blob[kind]());
});
