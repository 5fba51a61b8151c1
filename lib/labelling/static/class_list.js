"use strict";
// A search field over classes, as a combobox. The list has the classes whose names contain every
// typed word; typing selects the best match. Levels of a name are separated by " > ".

const MAX_LISTED = 60; // classes in the list at a time
const normalize = (text) => text.normalize("NFD").replace(/\p{M}/gu, "").toLowerCase();

// Returns clear(), move(step), selected(): a class id or null. hides: nothing is listed before
// something is typed.
function classList(filter, list, matches, names, hides = false) {
  const searchable = names.map(normalize);
  const leaves = searchable.map((name) => name.split(" > ").at(-1));
  const chosen = () => list.querySelector("[aria-selected=true]");

  function update() {
    const typed = normalize(filter.value.trim());
    const words = typed.split(/\s+/);
    const rank = (leaf) => (leaf.startsWith(typed) ? 0 : ` ${leaf}`.includes(` ${typed}`) ? 1 : 2);
    const found = searchable
      .map((name, classId) => ({ name, leaf: leaves[classId], classId }))
      .filter(({ name }) => words.every((word) => name.includes(word)))
      .sort(
        (a, b) => rank(a.leaf) - rank(b.leaf) || a.name.localeCompare(b.name, undefined, { numeric: true }),
      );
    const options = found.slice(0, MAX_LISTED).map(({ classId }) => {
      const option = document.createElement("li");
      option.id = `class${classId}`;
      option.setAttribute("role", "option");
      option.dataset.classId = classId;
      option.textContent = names[classId];
      return option;
    });
    list.replaceChildren(...options);
    list.hidden = hides && !typed;
    const hidden = found.length - options.length;
    matches.hidden = list.hidden;
    matches.textContent = found.length
      ? `${found.length} of ${names.length} classes${hidden > 0 ? `, ${hidden} not shown: type more` : ""}`
      : "No class name contains this text.";
    select(typed ? options[0] : null);
  }

  function select(option) {
    for (const other of list.children) other.setAttribute("aria-selected", other === option);
    if (option) {
      filter.setAttribute("aria-activedescendant", option.id);
      option.scrollIntoView({ block: "nearest" });
    } else {
      filter.removeAttribute("aria-activedescendant");
      list.scrollTop = 0;
    }
  }

  function move(step) {
    const options = [...list.children];
    const index = chosen() ? options.indexOf(chosen()) + step : step > 0 ? 0 : options.length - 1;
    if (options[index]) select(options[index]);
  }

  function clear() {
    filter.value = "";
    update();
  }

  filter.addEventListener("input", update);
  return { clear, move, selected: () => (chosen() ? Number(chosen().dataset.classId) : null) };
}
