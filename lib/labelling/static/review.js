"use strict";
// Shows the product that this person decides next, and sends the answer of a key or a click.

const { person, classNames } = JSON.parse(document.getElementById("task").textContent);
const filter = byId("filter");
const list = classList(filter, byId("list"), byId("matches"), classNames, true);

let state = null; // the server's last answer; null: unknown, must be fetched
let ready = false; // the product is on the screen and no request is running

// Runs one request at a time. A key pressed meanwhile was not meant for the next product.
async function run(path, body) {
  if (body && !ready) return;
  ready = false;
  try {
    const response = await request(person, path, body);
    state = response.state;
    showMessage(
      response.stale ? "This product was decided meanwhile, here or by another person. This is your current one." : "",
    );
    await show();
  } catch (error) {
    state = null;
    showMessage(NO_RESPONSE);
  }
}

function answer(kind, classId) {
  if (!state.item) return;
  const body = { product: state.item.product, kind };
  run("answer", kind === "class" ? { ...body, class_id: classId } : body);
}
const undo = () => state.last && run("undo", { product: state.last.product });

async function show() {
  const { item, last, decided, own, skipped, total } = state;
  if (item) await showItem(item);
  byId("question").hidden = !item;
  byId("done").hidden = Boolean(item);
  byId("bar").value = decided;
  byId("progress").textContent = `${decided} of ${total}`;
  const before = last ? `Last answer: ${last.said}` : "";
  byId("previous").textContent = before || "\u00a0";
  byId("status").textContent = `${before}. ${decided} of ${total} decided${item ? "" : ", done"}`;
  byId("rest").textContent =
    `${decided} of ${total} products are decided, ${own} by you` +
    (skipped ? `; ${skipped} that you skipped are open to the others.` : ".");
  for (const id of ["undo", "reopen"]) byId(id).disabled = !last;
  list.clear();
  filter.blur();
  ready = true;
  if (!item) byId("thanks").focus();
}

async function showItem(item) {
  const { place, images, choices, near, label } = item;
  const sources = Array.from({ length: images }, (_, index) => `/image/${place}/${index}`);
  const pictures = await Promise.all(
    sources.map((source, index) => picture(source, `Image ${index + 1} of ${images}`, images > 1 ? 230 : 448)),
  );
  byId("images").replaceChildren(...(images ? pictures : ["No picture of it can be shown."]));
  byId("product").textContent = item.product;
  byId("reason").textContent = item.reason;
  byId("choices").replaceChildren(...choices.map((choice, index) => choiceButton(choice, index, label)));
  byId("alike").hidden = !near.length;
  byId("near").replaceChildren(...(await Promise.all(near.map((other) => nearCard(place, other)))));
}

function element(tag, className, ...content) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  made.append(...content);
  return made;
}

// The name of a class: its upper levels small above the last one.
function nameOf(classId) {
  const levels = classNames[classId].split(" > ");
  const leaf = element("strong", "", levels.pop());
  return element("span", "levels", ...(levels.length ? [element("small", "", levels.join(" > "))] : []), leaf);
}

function choiceButton([classId, chance], index, label) {
  const percent = chance === null ? "" : `${(100 * chance).toFixed(chance < 0.1 ? 1 : 0)} %`;
  const mark = classId === label ? [element("small", "", "present label")] : [];
  const share = element("span", "share", percent);
  const button = element("button", "", element("kbd", "", index + 1), nameOf(classId), ...mark, share);
  button.type = "button";
  button.dataset.classId = classId;
  return button;
}

async function nearCard(place, { rank, product, class_id: classId, cosine, image }) {
  const button = element("button", "");
  button.type = "button";
  button.dataset.classId = classId;
  button.title = `Labelled product ${product}, cosine ${cosine.toFixed(3)}`;
  if (image) button.append(await picture(`/near/${place}/${rank}`, `Labelled product ${product}`, 80));
  button.append(nameOf(classId), element("small", "", cosine.toFixed(2)));
  return element("li", "", button);
}

// A picture, or a word in its place if its file is gone.
async function picture(source, text, side) {
  try {
    return await loadImage(source, text, side);
  } catch (error) {
    return element("span", "", "no picture");
  }
}

// The action of a key; undefined: the key keeps its usual meaning.
function keyAction(key) {
  if (document.activeElement === filter) {
    const chosen = list.selected();
    return {
      ArrowDown: () => list.move(1),
      ArrowUp: () => list.move(-1),
      Enter: () => chosen !== null && answer("class", chosen),
      Escape: () => {
        list.clear();
        filter.blur();
      },
    }[key];
  }
  if (["u", "U", "Backspace"].includes(key)) return undo;
  if (!state.item) return undefined;
  if (/^[1-9]$/.test(key)) {
    const choice = state.item.choices[Number(key) - 1];
    return () => choice && answer("class", choice[0]);
  }
  return { "/": () => filter.focus(), s: () => answer("skip"), n: () => answer("absent") }[key.toLowerCase()];
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
  if (!action) return;
  event.preventDefault();
  if (ready && (!event.repeat || event.key.startsWith("Arrow"))) action();
});

document.addEventListener("click", (event) => {
  const choice = event.target.closest("[data-class-id]");
  if (choice && ready) answer("class", Number(choice.dataset.classId));
});
byId("skip").addEventListener("click", () => ready && answer("skip"));
byId("absent").addEventListener("click", () => ready && answer("absent"));
for (const id of ["undo", "reopen"]) byId(id).addEventListener("click", () => ready && undo());
run("state");
