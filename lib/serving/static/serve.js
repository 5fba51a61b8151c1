"use strict";
// Sends pictures that are dropped or chosen, and shows what is said of each.

const byId = (id) => document.getElementById(id);
const MOST = Number(document.body.dataset.most);

function element(tag, text, className) {
  const made = document.createElement(tag);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function picture(source, text) {
  const image = element("img");
  image.src = source;
  image.alt = text;
  return image;
}

// The key of a class is often its name with other marks between the levels.
function classTitle(found) {
  const same = found.class_id.split("/").join(" > ") === found.name;
  return same ? found.name : `${found.name} (${found.class_id})`;
}

function classLine(found) {
  const line = element("li", `${classTitle(found)}, ${(100 * found.prob).toFixed(1)} %`);
  const meter = element("meter");
  meter.value = found.prob;
  line.append(meter);
  return line;
}

function nearItem(near) {
  const item = element("li");
  if (near.picture) item.append(picture(near.picture, ""));
  item.append(element("span", `${near.product}: ${near.name}, cosine ${near.cosine.toFixed(2)}`));
  return item;
}

// The server takes data: pictures alone beside its own, so that the page shows the file as such.
function dataUrl(file) {
  return new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.onload = () => resolve(reader.result);
    reader.onerror = reject;
    reader.readAsDataURL(file);
  });
}

async function answerOf(file, said) {
  const article = element("article", undefined, "answer");
  const text = element("div");
  article.append(picture(await dataUrl(file), said.name), text);
  text.append(element("h2", said.name));
  const verdict = said.accepted ? "accepted" : `not accepted: ${said.reason}`;
  text.append(element("p", verdict, "hint"));
  const classes = element("ol");
  classes.append(...said.classes.map(classLine));
  text.append(classes);
  if (said.nearest.length) {
    const near = element("ul", undefined, "near");
    near.append(...said.nearest.map(nearItem));
    text.append(element("h2", "Nearest labelled products"), near);
  }
  return article;
}

async function send(files) {
  const some = [...files].slice(0, MOST);
  if (!some.length) return;
  byId("message").textContent = "Asking ...";
  const form = new FormData();
  for (const file of some) form.append("picture", file);
  try {
    const response = await fetch("/predict", { method: "POST", body: form });
    const body = await response.json();
    if (!body.predictions) throw new Error(body.error || `status ${response.status}`);
    const answers = await Promise.all(body.predictions.map((said, i) => answerOf(some[i], said)));
    byId("answers").replaceChildren(...answers);
    byId("message").textContent = files.length > MOST ? `The first ${MOST} pictures are shown.` : "";
  } catch (error) {
    byId("message").textContent = `No answer: ${error.message}`;
  }
}

const drop = byId("drop");
for (const name of ["dragenter", "dragover"]) {
  drop.addEventListener(name, (event) => {
    event.preventDefault();
    drop.classList.add("over");
  });
}
drop.addEventListener("dragleave", () => drop.classList.remove("over"));
drop.addEventListener("drop", (event) => {
  event.preventDefault();
  drop.classList.remove("over");
  send(event.dataTransfer.files);
});
byId("files").addEventListener("change", (event) => send(event.target.files));
