"use strict";
// Shows one product at a time, sends the answer of a key or a click, then shows the next product.

const { person, total, classNames } = JSON.parse(document.getElementById("task").textContent);
const filter = byId("filter"); // present only if there are more classes than digits
const list = filter && classList(filter, byId("list"), byId("matches"), classNames);

let state = null; // the server's last answer; null: unknown, must be fetched
let ready = false; // the product is on the screen and no request is running
const imagesByPosition = new Map(); // position -> promise of its images

// Runs one request at a time. A key pressed meanwhile was not meant for the next product.
async function run(path, body, summary) {
  if (body && !ready) return;
  ready = false;
  try {
    const response = await request(person, path, body);
    state = response.state;
    showMessage(response.stale ? "You continued in another window. This is your current product." : "");
    await show(response.stale ? "" : summary);
  } catch (error) {
    state = null;
    showMessage(NO_RESPONSE);
  }
}

const answer = (classId) =>
  state.position < total &&
  run("answer", { position: state.position, class_id: classId }, classId === null ? "skipped" : classNames[classId]);
const undo = () => state.position > 0 && run("undo", { position: state.position }, "undone");

async function show(summary) {
  const { position, images } = state;
  const done = position === total;
  if (!done) byId("images").replaceChildren(...(await loadImages(position, images[0])));
  byId("question").hidden = done;
  byId("done").hidden = !done;
  byId("bar").value = position;
  byId("progress").textContent = `${position} of ${total}`;
  byId("status").textContent = `${summary ? `${summary}. ` : ""}${position} of ${total}${done ? ", done" : ""}`;
  byId("previous").textContent = summary ? `Last answer: ${summary}` : "\u00a0";
  byId("undo").disabled = position === 0;
  if (list) list.clear();
  ready = true;
  if (done) byId("thanks").focus();
  else if (filter) filter.focus();
  const next = position + 1;
  if (next < total) loadImages(next, images[1]).catch(() => imagesByPosition.delete(next));
}

// The images of a position. Those far from it are dropped.
function loadImages(position, count) {
  if (!imagesByPosition.has(position)) {
    for (const other of imagesByPosition.keys()) if (Math.abs(other - position) > 2) imagesByPosition.delete(other);
    const promise = Promise.all(
      Array.from({ length: count }, (_, index) => {
        const text = `Product ${position + 1}` + (count > 1 ? `, image ${index + 1} of ${count}` : "");
        return loadImage(`/person/${person}/image/${position}/${index}`, text, count > 1 ? 230 : 448);
      }),
    );
    promise.catch(() => imagesByPosition.delete(position));
    imagesByPosition.set(position, promise);
  }
  return imagesByPosition.get(position);
}

// The action of a key; undefined: the key keeps its usual meaning.
function keyAction(key) {
  if (state.position === total) return ["u", "U", "Backspace"].includes(key) ? undo : undefined;
  if (!filter) {
    if (/^[0-9]$/.test(key)) {
      const classId = (Number(key) + 9) % 10;
      return () => classId < classNames.length && answer(classId);
    }
    return { s: () => answer(null), u: undo, Backspace: undo }[key.length > 1 ? key : key.toLowerCase()];
  }
  if (key === "Backspace") return filter.value ? undefined : undo;
  const chosen = list.selected();
  return {
    ArrowDown: () => list.move(1),
    ArrowUp: () => list.move(-1),
    Enter: () => chosen !== null && answer(chosen),
    Escape: list.clear,
    "?": () => answer(null),
  }[key];
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (state === null) {
    if (byId("message").hidden || event.key === "Shift") return;
    event.preventDefault();
    showMessage("");
    run("state");
    return;
  }
  const onButton = event.target.closest("button, a");
  if (onButton && ["Enter", " "].includes(event.key)) return;
  const action = keyAction(event.key);
  if (!action) {
    if (filter && event.key.length === 1 && state.position < total) filter.focus();
    return;
  }
  event.preventDefault();
  if (ready && (!event.repeat || event.key.startsWith("Arrow"))) action();
});

document.addEventListener("click", (event) => {
  const choice = event.target.closest("[data-class-id]");
  if (choice && ready) answer(Number(choice.dataset.classId));
});
byId("skip").addEventListener("click", () => ready && answer(null));
for (const id of ["undo", "reopen"]) byId(id).addEventListener("click", () => ready && undo());
run("state");
