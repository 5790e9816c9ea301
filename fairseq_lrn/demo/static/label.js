"use strict";

const NOTES = {
  text: "The stronger the colour of a word, the more it weighs in the pooling.",
  pair: "The stronger the colour of a word, the more it weighs in the pooling of its text.",
  tags: "",
};
let kind = "text";

// A text whose entities are marked, each with its type after it.
function marked(text, entities) {
  const paragraph = element("p");
  // Positions count characters as Python does; a string of JavaScript counts some of them twice.
  const characters = [...text];
  let done = 0;
  for (const entity of entities) {
    paragraph.append(characters.slice(done, entity.start).join(""));
    const mark = element("mark", characters.slice(entity.start, entity.end).join(""));
    mark.append(element("small", ` ${entity.type}`));
    paragraph.append(mark);
    done = entity.end;
  }
  paragraph.append(characters.slice(done).join(""));
  return paragraph;
}

// The words of a text; the colour of a word is as strong as its weight, relative to the largest one.
function weighted(words, weights) {
  const paragraph = element("p");
  const largest = Math.max(1e-9, ...(weights || []));
  words.forEach((word, index) => {
    const span = element("span", word);
    if (weights) {
      span.className = "word";
      span.title = weights[index].toFixed(3);
      span.style.backgroundColor = `rgba(var(--mark), ${(0.4 * weights[index] / largest).toFixed(3)})`;
    }
    paragraph.append(span, " ");
  });
  return paragraph;
}

function classified(line) {
  const list = element("ul");
  list.className = "labels";
  for (const [label, probability] of line.labels) {
    const item = element("li");
    const bar = element("meter");
    bar.value = probability;
    bar.setAttribute("aria-label", `probability of ${label}`);
    item.append(element("b", label), ` ${(100 * probability).toFixed(1)}% `, bar);
    list.append(item);
  }
  const texts = line.texts.map((text) => weighted(text.words, text.weights));
  const part = element("section");
  part.append(list, ...texts);
  return part;
}

function show(answer) {
  if (!answer.lines.length) return refuse("The text has no words.");
  const parts = answer.lines.map((line) => (
    kind === "tags" ? marked(line.text, line.entities) : classified(line)
  ));
  get("result").replaceChildren(...parts);
  const hasWeights = kind !== "tags" && answer.lines.some((line) => line.texts[0].weights);
  get("note").textContent = hasWeights ? NOTES[kind] : "";
  get("note").hidden = !hasWeights;
}

// Shows an error, and no result that could be taken for the result of this text.
function refuse(message) {
  get("result").replaceChildren();
  get("note").hidden = true;
  get("message").textContent = message;
}

get("form").addEventListener("submit", (event) => {
  event.preventDefault();
  const fields = { text: get("text").value };
  if (kind === "pair") fields.other = get("other").value;
  const isEmpty = Object.values(fields).some((text) => !text.trim());
  ask("/label", isEmpty ? null : fields, show, refuse);
});
fetch("/about").then((response) => response.json()).then((about) => {
  limits = about;
  kind = about.kind;
  const names = { text: "classification", pair: "classification of pairs", tags: "entities" };
  get("kind").textContent = names[kind];
  document.title = `${names[kind]} \u2013 fairseq_lrn`;
  get("other-part").hidden = kind !== "pair";
  if (kind === "pair") get("text-label").textContent = "First text";
  count();
});
