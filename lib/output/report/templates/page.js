"use strict";
for (const gallery of document.querySelectorAll(".gallery")) {
  const cards = [...gallery.querySelectorAll(".card")];
  const list = gallery.querySelector(".cards");
  const filter = gallery.querySelector(".filter");
  const sort = gallery.querySelector(".sort");
  const count = gallery.querySelector(".count");
  const keys = new Map(cards.map((card) => [card, card.dataset.keys.split(" ").map(Number)]));
  const text = new Map(cards.map((card) => [card, card.dataset.category.toLowerCase()]));
  const shown = () => [...list.children].filter((card) => !card.hidden);

  const applyFilter = () => {
    const part = filter.value.trim().toLowerCase();
    for (const card of cards) card.hidden = !text.get(card).includes(part);
    const number = shown().length;
    count.textContent = number === cards.length ? `${number} products` : `${number} of ${cards.length} products`;
  };
  filter.addEventListener("input", applyFilter);
  sort.addEventListener("change", () => {
    const key = Number(sort.value);
    list.append(...cards.slice().sort((a, b) => keys.get(a)[key] - keys.get(b)[key]));
  });
  filter.addEventListener("keydown", (event) => {
    if (event.key !== "Escape") return;
    filter.value = "";
    applyFilter();
  });
  gallery.querySelector(".controls").hidden = false;
  gallery.move = (step) => {
    const visible = shown();
    const at = visible.indexOf(document.activeElement.closest(".card"));
    const next = visible[Math.max(0, Math.min(visible.length - 1, at < 0 ? 0 : at + step))];
    if (next) {
      next.focus({ preventScroll: true });
      next.scrollIntoView({ block: "nearest" });
    }
  };
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches("input, select")) return;
  const galleries = [...document.querySelectorAll(".gallery")];
  const gallery = document.activeElement.closest(".gallery")
    || galleries.find((g) => g.getBoundingClientRect().bottom > 0) || galleries[0];
  if (!gallery) return;
  const step = { j: 1, ArrowRight: 1, k: -1, ArrowLeft: -1 }[event.key];
  if (step && (event.key.length === 1 || document.activeElement.closest(".card"))) {
    event.preventDefault();
    gallery.move(step);
  } else if (event.key === "n") {
    const card = document.activeElement.closest(".card");
    const strips = [...(card || gallery).querySelectorAll(".card:not([hidden]) .strip, :scope > .strip")];
    const open = !strips.every((strip) => strip.open);
    for (const strip of strips) strip.open = open;
  } else if (event.key === "/") {
    event.preventDefault();
    gallery.querySelector(".filter").focus();
  }
});
