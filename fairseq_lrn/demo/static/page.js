"use strict";
const get = (id) => document.getElementById(id);
let limits = { max_characters: 1000, max_beam: 20 };
let latest = 0;

function element(name, text) {
  const node = document.createElement(name);
  if (text !== undefined) node.textContent = text;
  return node;
}

// A table of weights; the opacity of a cell is its weight relative to the largest weight.
function heatMap(container, rows, columns, weights) {
  const largest = Math.max(...weights.flat(), 1e-9);
  const table = element("table");
  const names = table.createTHead().insertRow();
  names.append(element("th"));
  for (const column of columns) {
    const cell = element("th");
    cell.append(element("span", column));
    names.append(cell);
  }
  const body = table.createTBody();
  weights.forEach((row, index) => {
    const line = body.insertRow();
    line.append(element("th", rows[index]));
    row.forEach((weight, column) => {
      const cell = line.insertCell();
      cell.title = `${rows[index]} \u2014 ${columns[column]}: ${weight.toFixed(3)}`;
      const mark = element("i");
      mark.style.opacity = (weight / largest).toFixed(3);
      cell.append(mark);
    });
  });
  container.replaceChildren(table);
}

function show(answer) {
  const list = get("nbest");
  list.replaceChildren();
  answer.translations.forEach((translation, index) => {
    const button = element("button");
    button.type = "button";
    const score = element("span", translation.score.toFixed(3));
    score.className = "score";
    button.append(score, translation.text);
    button.addEventListener("click", () => {
      for (const each of list.querySelectorAll("button")) each.setAttribute("aria-pressed", "false");
      button.setAttribute("aria-pressed", "true");
      get("best").textContent = translation.text;
      heatMap(get("attention"), translation.words, translation.source, translation.attention);
    });
    const item = element("li");
    item.append(button);
    list.append(item);
    if (index === 0) button.click();
  });
  get("memory-part").hidden = answer.memory === null;
  if (answer.memory) {
    heatMap(get("memory"), answer.memory.subwords, answer.memory.subwords, answer.memory.weights);
  }
  get("result").hidden = false;
}

async function translate(event) {
  event.preventDefault();
  const number = ++latest;
  get("message").textContent = "";
  get("go").disabled = true;
  try {
    const response = await fetch("/translate", {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ text: get("text").value, beam: Number(get("beam").value) }),
    });
    const answer = await response.json();
    if (number !== latest) return;
    if (response.ok) show(answer);
    else get("message").textContent = answer.error;
  } catch (error) {
    get("message").textContent = "The server does not answer. Is it still running?";
  } finally {
    get("go").disabled = false;
  }
}

function count() {
  const length = [...get("text").value].length;
  get("count").textContent = `${length} of ${limits.max_characters} characters`;
}

get("form").addEventListener("submit", translate);
get("text").addEventListener("input", count);
get("text").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && !event.shiftKey) get("form").requestSubmit();
  if (event.key === "Enter" && !event.shiftKey) event.preventDefault();
});
fetch("/about").then((response) => response.json()).then((about) => {
  limits = about;
  get("languages").textContent = `${about.source} \u2192 ${about.target}`;
  get("best").lang = about.target;
  get("text").lang = about.source;
  get("beam").max = about.max_beam;
  count();
});
