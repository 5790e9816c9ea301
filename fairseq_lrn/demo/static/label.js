"use strict";

const NOTES = {
  text: "The stronger the colour of a word, the more it weighs in the pooling.",
  pair: "The stronger the colour of a word, the more it weighs in the pooling of its text.",
  tags: "",
  spans: "",
};
const NAMES = {
  text: "classification", pair: "classification of pairs", tags: "entities", spans: "answers",
};
// What the two fields of a page with two fields are.
const FIELDS = { pair: ["First text", "Second text"], spans: ["Questions", "Text"] };
let kind = "text";

// A text with marked parts, each with its type after it where it has one.
function marked(text, entities) {
  const paragraph = element("p");
  // Positions count characters as Python does; a string of JavaScript counts some of them twice.
  const characters = [...text];
  let done = 0;
  for (const entity of entities) {
    paragraph.append(characters.slice(done, entity.start).join(""));
    const mark = element("mark", characters.slice(entity.start, entity.end).join(""));
    if (entity.type) mark.append(element("small", ` ${entity.type}`));
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

// A question, the answer with its probability, and the text with the answer marked.
function answered(line) {
  const answer = element("p", `${line.question} `);
  answer.append(element("b", line.answer), ` ${(100 * line.probability).toFixed(1)}%`);
  const part = element("section");
  part.append(answer, marked(line.text, [line]));
  return part;
}

const PARTS = {
  text: classified, pair: classified, spans: answered,
  tags: (line) => marked(line.text, line.entities),
};

function show(answer) {
  if (!answer.lines.length) return refuse("The text has no words.");
  get("result").replaceChildren(...answer.lines.map(PARTS[kind]));
  const hasWeights = NOTES[kind] && answer.lines.some((line) => line.texts[0].weights);
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
  if (kind in FIELDS) fields.other = get("other").value;
  const isEmpty = Object.values(fields).some((text) => !text.trim());
  ask("/label", isEmpty ? null : fields, show, refuse);
});
fetch("/about").then((response) => response.json()).then((about) => {
  limits = about;
  kind = about.kind;
  get("kind").textContent = NAMES[kind];
  document.title = `${NAMES[kind]} \u2013 fairseq_lrn`;
  get("other-part").hidden = !(kind in FIELDS);
  if (kind in FIELDS) {
    [get("text-label").textContent, get("other-label").textContent] = FIELDS[kind];
  }
  if (kind === "spans") {
    get("hint").textContent = "Each line is a question. Enter answers; Shift+Enter begins a new line.";
    Object.assign(get("go").dataset, { name: "Answer", busy: "Answering…" });
    get("go").textContent = "Answer";
    get("other").rows = 8;
    // The text is what may be too long.
    watch("other", about.max_context);
  }
  count();
});
