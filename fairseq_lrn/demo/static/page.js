"use strict";

function header(text, scope) {
  const cell = element("th");
  cell.scope = scope;
  cell.append(element("span", text));
  return cell;
}

// A table of weights; the colour of a cell is as strong as its weight, relative to the largest one.
function heatMap(name, rows, columns, weights) {
  const largest = weights.flat().reduce((one, other) => Math.max(one, other), 1e-9);
  const table = element("table");
  table.setAttribute("aria-labelledby", `${name}-title`);
  table.setAttribute("aria-describedby", `${name}-note`);
  const names = table.createTHead().insertRow();
  names.append(element("td"), ...columns.map((column) => header(column, "col")));
  const body = table.createTBody();
  weights.forEach((row, index) => {
    const line = body.insertRow();
    line.append(header(rows[index], "row"));
    row.forEach((weight, column) => {
      const cell = line.insertCell();
      cell.title = `${rows[index]} \u2014 ${columns[column]}: ${weight.toFixed(3)}`;
      cell.setAttribute("aria-label", weight.toFixed(3));
      cell.style.backgroundColor = `rgba(var(--mark), ${(weight / largest).toFixed(3)})`;
    });
  });
  get(name).replaceChildren(table);
  get(`${name}-note`).lastElementChild.textContent = `The strongest colour is ${largest.toFixed(3)}.`;
}

function showHypothesis(hypothesis, button, output) {
  for (const each of get("nbest").querySelectorAll("button")) {
    each.setAttribute("aria-pressed", String(each === button));
  }
  if (output.textContent !== hypothesis.text) output.textContent = hypothesis.text;
  heatMap("attention", hypothesis.words, hypothesis.source, hypothesis.attention);
}

function showDetails(line, output) {
  get("nbest").replaceChildren();
  line.hypotheses.forEach((hypothesis, index) => {
    const button = element("button");
    button.type = "button";
    const score = element("span", hypothesis.score.toFixed(3));
    score.className = "score";
    button.append(score, hypothesis.text);
    button.addEventListener("click", () => showHypothesis(hypothesis, button, output));
    const item = element("li");
    item.append(button);
    get("nbest").append(item);
    if (index === 0) button.click();
  });
  get("memory-part").hidden = line.memory === null;
  if (line.memory) heatMap("memory", line.memory.subwords, line.memory.subwords, line.memory.weights);
}

// Shows the translation of each line, and the details of the first line that has any.
function show(lines) {
  const outputs = lines.map((line) => element("p", (line.hypotheses[0] || { text: "" }).text));
  get("translation").replaceChildren(...outputs);
  const options = [];
  lines.forEach((line, index) => {
    if (!line.hypotheses.length) return;
    const option = element("option", `${index + 1}: ${line.source}`);
    option.value = index;
    options.push(option);
  });
  get("line").replaceChildren(...options);
  get("line").onchange = () => showDetails(lines[get("line").value], outputs[get("line").value]);
  get("line-part").hidden = options.length < 2;
  get("line").onchange();
  get("details").hidden = false;
}

// Shows an error, and no result that could be taken for the result of this text.
function refuse(message) {
  get("translation").replaceChildren();
  get("details").hidden = true;
  get("message").textContent = message;
}

function translate(event) {
  event.preventDefault();
  const text = get("text").value;
  const fields = text.trim() ? { text, beam: Number(get("beam").value) } : null;
  ask("/translate", fields, (answer) => {
    if (answer.lines.some((line) => line.hypotheses.length)) show(answer.lines);
    else refuse("The text has no words.");
  }, refuse);
}

get("form").addEventListener("submit", translate);
fetch("/about").then((response) => response.json()).then((about) => {
  limits = about;
  document.title = `${about.source} \u2192 ${about.target} \u2013 fairseq_lrn`;
  get("languages").textContent = `${about.source} \u2192 ${about.target}`;
  get("translation").lang = about.target.replace("_", "-");
  get("nbest").lang = about.target.replace("_", "-");
  get("text").lang = about.source.replace("_", "-");
  get("beam").max = about.max_beam;
  count();
});
