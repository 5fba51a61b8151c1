"use strict";
// One drawing after the other: shows it, takes a key or a click, has it saved, shows the next.

const { person, total, names } = JSON.parse(document.getElementById("sheet").textContent);
const at = (id) => document.getElementById(id);
const filter = at("filter"); // only where there are more classes than digits
const COARSE = 64; // pixels: pictures up to this size are shown pixel by pixel
const LISTED = 60; // classes in the list at a time

let state = null; // what the server said last; null: unknown, to be asked for
let ready = false; // the drawing is on the screen, and nothing is under way
const loaded = new Map(); // place -> promise of its pictures

async function ask(path, body) {
  const request = body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  const response = await fetch(`/person/${person}/${path}`, request);
  if (!response.ok && response.status !== 409) throw new Error(`status ${response.status}`);
  return { elsewhere: response.status === 409, state: await response.json() };
}

// Runs one thing at a time. A key that comes meanwhile was not meant for the next drawing.
async function run(path, body, last) {
  if (body && !ready) return;
  ready = false;
  try {
    const answer = await ask(path, body);
    state = answer.state;
    say(answer.elsewhere ? "You went on in another window; this is where you are now." : "");
    await show(answer.elsewhere ? "" : last);
  } catch (error) {
    state = null;
    say(
      "The program does not answer, so this was perhaps not saved. See whether it still runs, then " +
        "press any key: you will go on where your saved labels end.",
    );
  }
}

const answer = (cls) =>
  state.place < total &&
  run("answer", { place: state.place, class: cls }, cls === null ? "passed" : names[cls]);
const undo = () => state.place > 0 && run("undo", { place: state.place }, "taken back");

function say(text) {
  at("message").textContent = text;
  at("message").hidden = !text;
}

async function show(last) {
  const { place, pictures } = state;
  const done = place === total;
  if (!done) at("pictures").replaceChildren(...(await fetched(place, pictures[0])));
  at("asking").hidden = done;
  at("done").hidden = !done;
  at("bar").value = place;
  at("progress").textContent = `${place} of ${total}`;
  at("told").textContent = `${last ? `${last}. ` : ""}${place} of ${total}${done ? ", done" : ""}`;
  at("last").textContent = last ? `The one before: ${last}` : "\u00a0";
  at("undo").disabled = place === 0;
  if (filter) {
    filter.value = "";
    list();
  }
  ready = true;
  if (done) at("thanks").focus();
  else if (filter) filter.focus();
  if (place + 1 < total) fetched(place + 1, pictures[1]).catch(() => loaded.delete(place + 1));
}

// The pictures of a place, drawn large enough to be seen.
function fetched(place, count) {
  if (!loaded.has(place)) {
    for (const old of loaded.keys()) if (Math.abs(old - place) > 2) loaded.delete(old);
    const promise = Promise.all(Array.from({ length: count }, (_, i) => picture(place, i, count)));
    promise.catch(() => loaded.delete(place));
    loaded.set(place, promise);
  }
  return loaded.get(place);
}

async function picture(place, position, count) {
  const image = new Image();
  image.src = `/person/${person}/picture/${place}/${position}`;
  image.alt = `To label: number ${place + 1}` + (count > 1 ? `, picture ${position + 1} of ${count}` : "");
  await image.decode();
  const longest = Math.max(image.naturalWidth, image.naturalHeight);
  const coarse = longest <= COARSE;
  const scale = (count > 1 ? 230 : 448) / longest;
  image.classList.toggle("coarse", coarse);
  image.width = image.naturalWidth * (coarse ? Math.max(1, Math.floor(scale)) : Math.min(scale, 3));
  return image;
}

// The list of classes that holds every typed word; the best one is chosen as soon as one types.
const plain = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();
const sought = names.map(plain);

function list() {
  const typed = plain(filter.value.trim());
  const words = typed.split(/\s+/);
  const rank = (name) => (name.startsWith(typed) ? 0 : ` ${name}`.includes(` ${typed}`) ? 1 : 2);
  const found = sought
    .map((name, cls) => ({ name, cls }))
    .filter(({ name }) => words.every((word) => name.includes(word)))
    .sort((a, b) => rank(a.name) - rank(b.name) || a.name.localeCompare(b.name));
  const options = found.slice(0, LISTED).map(({ cls }) => {
    const option = document.createElement("li");
    option.id = `class${cls}`;
    option.setAttribute("role", "option");
    option.dataset.class = cls;
    option.textContent = names[cls];
    return option;
  });
  at("list").replaceChildren(...options);
  const more = found.length - options.length;
  at("more").textContent = found.length
    ? `${found.length} of ${names.length} classes${more > 0 ? `, ${more} not listed: type more` : ""}`
    : "No class has that in its name.";
  choose(typed ? options[0] : null);
}

const chosen = () => at("list").querySelector("[aria-selected=true]");

function choose(option) {
  for (const other of at("list").children) other.setAttribute("aria-selected", other === option);
  if (option) {
    filter.setAttribute("aria-activedescendant", option.id);
    option.scrollIntoView({ block: "nearest" });
  } else {
    filter.removeAttribute("aria-activedescendant");
    at("list").scrollTop = 0;
  }
}

function move(step) {
  const options = [...at("list").children];
  const place = chosen() ? options.indexOf(chosen()) + step : step > 0 ? 0 : options.length - 1;
  if (options[place]) choose(options[place]);
}

// What a key does; undefined: it has its usual meaning.
function meaning(key) {
  if (state.place === total) return ["u", "U", "Backspace"].includes(key) ? undo : undefined;
  if (!filter) {
    if (/^[0-9]$/.test(key)) {
      const cls = (Number(key) + 9) % 10;
      return () => cls < names.length && answer(cls);
    }
    return { s: () => answer(null), u: undo, Backspace: undo }[key.length > 1 ? key : key.toLowerCase()];
  }
  if (key === "Backspace") return filter.value ? undefined : undo;
  const one = chosen();
  return {
    ArrowDown: () => move(1),
    ArrowUp: () => move(-1),
    Enter: () => one && answer(Number(one.dataset.class)),
    Escape: () => {
      filter.value = "";
      list();
    },
    "?": () => answer(null),
  }[key];
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (state === null) {
    if (at("message").hidden || event.key === "Shift") return;
    event.preventDefault();
    say("");
    run("state");
    return;
  }
  const onButton = event.target.closest("button, a");
  if (onButton && ["Enter", " "].includes(event.key)) return;
  const does = meaning(event.key);
  if (!does) {
    if (filter && event.key.length === 1 && state.place < total) filter.focus();
    return;
  }
  event.preventDefault();
  if (ready && (!event.repeat || event.key.startsWith("Arrow"))) does();
});

document.addEventListener("click", (event) => {
  const choice = event.target.closest("[data-class]");
  if (choice && ready) answer(Number(choice.dataset.class));
});
at("skip").addEventListener("click", () => ready && answer(null));
for (const id of ["undo", "reopen"]) at(id).addEventListener("click", () => ready && undo());
if (filter) filter.addEventListener("input", list);
run("state");
