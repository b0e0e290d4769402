// The session's answers as a table, sorted by its headings.
import { problemOf } from "./card.js";
import { byId, button, element, nameOf } from "./dom.js";
import { compareText, isDone, matching, onChange } from "./store.js";
import { Pager } from "./pager.js";
import { percent } from "./text.js";

const SIZE = 100;

const second = (item) => Object.entries(item.answer?.probabilities ?? {}).sort((a, b) => b[1] - a[1])[1] ?? null;
const note = (item) =>
  isDone(item) ? problemOf(item) || (item.answer.unfamiliar ? "Unlike anything in the training set" : "") : "Waiting";

// heading, what it sorts by (null: last, whichever way), what its cell shows
const COLUMNS = [
  ["File", (item) => item.path, (item) => nameOf(item.path, 60)],
  [
    "Answer",
    (item) => item.answer?.label ?? null,
    (item) => (item.answer?.label != null ? nameOf(item.answer.label, 40) : "–"),
  ],
  ["Probability", (item) => item.answer?.probability ?? null, (item) => percent(item.answer?.probability)],
  [
    "Next likeliest",
    (item) => second(item)?.[1] ?? null,
    (item) => (second(item) ? element("span", {}, nameOf(second(item)[0], 30), ` ${percent(second(item)[1])}`) : "–"),
  ],
  ["Familiarity", (item) => item.answer?.familiarity ?? null, (item) => percent(item.answer?.familiarity)],
  ["Note", (item) => note(item) || null, note],
];
const NUMBERS = new Set(["Probability", "Familiarity"]);

let sorting = { column: -1, sign: 1 };
let pager;

export function startTable() {
  const headings = COLUMNS.map(([title], column) =>
    element(
      "th",
      { scope: "col", class: NUMBERS.has(title) ? "number" : null },
      button(title, () => sortBy(column)),
    ),
  );
  byId("answers-head").append(...headings);
  pager = new Pager(byId("answers-pages"), SIZE, "Pages of the table", render);
  onChange(() => {
    if (!byId("panel-answers").hidden) render();
  });
}

function sortBy(column) {
  sorting = { column, sign: sorting.column === column ? -sorting.sign : 1 };
  [...byId("answers-head").children].forEach((heading, place) => {
    if (place === column) heading.setAttribute("aria-sort", sorting.sign > 0 ? "ascending" : "descending");
    else heading.removeAttribute("aria-sort");
  });
  render();
}

function sorted() {
  const found = matching();
  if (sorting.column < 0) return found;
  const keyed = found.map((item) => [COLUMNS[sorting.column][1](item), item]);
  keyed.sort(([a], [b]) => {
    if (a === null || b === null) return (a === null) - (b === null);
    return sorting.sign * (typeof a === "number" ? a - b : compareText(a, b));
  });
  return keyed.map(([, item]) => item);
}

export function render() {
  const rows = pager
    .cut(sorted())
    .map((item) =>
      element(
        "tr",
        {},
        ...COLUMNS.map(([title, , show], column) =>
          column === 0
            ? element("th", { scope: "row", class: "path" }, show(item))
            : element("td", { class: NUMBERS.has(title) ? "number" : null }, show(item)),
        ),
      ),
    );
  byId("answers-body").replaceChildren(...rows);
}
