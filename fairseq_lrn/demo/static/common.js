"use strict";
// What the pages of all models share.
const get = (id) => document.getElementById(id);
let limits = { max_characters: 1000, max_lines: 50, max_beam: 20 };
let latest = 0;

function element(name, text) {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  return node;
}

// The button stays enabled: a disabled one would lose the focus.
function setBusy(busy) {
  const button = get("go");
  document.body.classList.toggle("busy", busy);
  button.textContent = busy ? button.dataset.busy : button.dataset.name;
}

// Sends a request. Gives its answer to show, or a message to refuse; a later request takes its place.
async function ask(route, fields, show, refuse) {
  const number = ++latest;
  get("message").textContent = "";
  setBusy(Boolean(fields));
  if (!fields) return refuse("Type a text first.");
  let response, answer;
  try {
    response = await fetch(route, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(fields),
    });
    answer = await response.json();
  } catch (error) {
    if (number === latest) refuse("The server does not answer. Is it still running?");
    return;
  } finally {
    if (number === latest) setBusy(false);
  }
  if (number !== latest) return;
  if (!response.ok) refuse(answer.error);
  else show(answer);
}

// The field whose characters are counted, and how many it may have (by default that of the model).
let watched = { field: "text", limit: null };

function count() {
  const length = [...get(watched.field).value].length;
  const limit = watched.limit ?? limits.max_characters;
  get("count").textContent = `${length} of ${limit} characters`;
  get("count").classList.toggle("error", length > limit);
}

function watch(field, limit) {
  watched = { field, limit };
}

for (const area of document.querySelectorAll("textarea")) area.addEventListener("input", count);
for (const area of document.querySelectorAll("textarea")) {
  area.addEventListener("keydown", (event) => {
    // Enter also ends the input of a character that takes several keys (isComposing).
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    get("form").requestSubmit();
  });
}
