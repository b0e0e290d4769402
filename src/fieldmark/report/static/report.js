"use strict";
// Sorts and filters the cards of mistakes. Without it the page shows the same, the most confident first.
// Names of files and classes are only ever set as text.
(() => {
  const section = document.getElementById("mistakes");
  const cards = section ? [...section.querySelectorAll(".card[data-path]")] : [];
  if (cards.length < 2) return;

  const element = (tag, properties) => Object.assign(document.createElement(tag), properties);
  const labelled = (text, control) => {
    const label = element("label", { textContent: text });
    label.append(control);
    return label;
  };
  const select = (options) => {
    const control = element("select", {});
    for (const [value, text] of options) control.append(element("option", { value, textContent: text, dir: "auto" }));
    return control;
  };
  const valuesOf = (name) => {
    const found = [...new Set(cards.map((card) => card.dataset[name]))].sort((a, b) => a.localeCompare(b));
    // A class may bear any name, the empty one too: options go by number.
    return { found, control: select([["", "any"], ...found.map((value, number) => [String(number), value])]) };
  };

  const truth = valuesOf("label");
  const answer = valuesOf("predicted");
  const path = element("input", { type: "search", spellcheck: false, autocomplete: "off" });
  const order = select([
    ["sure", "surest first"],
    ["unsure", "least sure first"],
    ["path", "by path"],
  ]);
  const count = element("p", { className: "count" });
  count.setAttribute("role", "status");

  const probability = (card) => Number(card.dataset.probability);
  const byPath = (a, b) => (a.dataset.path < b.dataset.path ? -1 : a.dataset.path > b.dataset.path ? 1 : 0);
  const orders = {
    sure: (a, b) => probability(b) - probability(a) || byPath(a, b),
    unsure: (a, b) => probability(a) - probability(b) || byPath(a, b),
    path: byPath,
  };
  const chosen = ({ found, control }) => (control.value === "" ? null : found[Number(control.value)]);

  const update = () => {
    const [label, predicted, text] = [chosen(truth), chosen(answer), path.value.trim().toLowerCase()];
    let shown = 0;
    for (const card of cards) {
      card.hidden =
        (label !== null && card.dataset.label !== label) ||
        (predicted !== null && card.dataset.predicted !== predicted) ||
        !card.dataset.path.toLowerCase().includes(text);
      shown += card.hidden ? 0 : 1;
    }
    for (const group of section.querySelectorAll(".mistakes")) {
      group.append(...[...group.children].sort(orders[order.value]));
    }
    count.textContent = `${shown} of ${cards.length} shown`;
  };

  const tools = element("div", { className: "tools" });
  tools.setAttribute("role", "search");
  tools.setAttribute("aria-label", "Sort and filter the mistakes");
  tools.append(
    labelled("It is", truth.control),
    labelled("Answered", answer.control),
    labelled("Path contains", path),
    labelled("Order", order),
    count,
  );
  tools.addEventListener("input", update);
  document.getElementById("mistakes-listed").before(tools);
  update();
})();
