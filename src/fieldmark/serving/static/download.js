// The answers as files: the same columns as `fieldmark predict --csv`, the same fields as `predict --json`.
import { element } from "./dom.js";
import { isDone, items } from "./store.js";

// What a spreadsheet would run as a formula, also in its full-width form (storage.guard).
const FORMULA = /^'*[=+\-@\t\r\n＝＋－＠]/;
const guard = (text) => (FORMULA.test(text) ? `'${text}` : text);
const quoted = (text) => (/[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

function cell(value) {
  if (value === null || value === undefined) return "";
  if (value === true) return "True"; // as Python's csv writes it
  if (value === false) return "False";
  return typeof value === "number" ? String(value) : quoted(guard(value));
}

const NONE = { label: null, probability: null, probabilities: {}, unfamiliar: false, familiarity: null };

// What was refused is a row as well, with the reason's code as its problem.
const rowOf = (item) => item.answer ?? { path: item.path, ...NONE, problem: item.error.code };
const rows = () => items.filter(isDone).map(rowOf);

export function csvOf(predictions, classes) {
  const header = [
    "path",
    "label",
    "probability",
    ...classes.map((name) => `p:${name}`),
    "familiarity",
    "unfamiliar",
    "problem",
  ];
  const lines = predictions.map((row) => {
    // A class may be called "constructor", which every object answers to.
    const shares = classes.map((name) => (Object.hasOwn(row.probabilities, name) ? row.probabilities[name] : null));
    return [row.path, row.label, row.probability, ...shares, row.familiarity, row.unfamiliar, row.problem];
  });
  // A piece for each line: one string of ten thousand rows of two hundred classes would be copied again and again.
  return [header, ...lines].map((line) => `${line.map(cell).join(",")}\n`);
}

function save(parts, type, name) {
  const address = URL.createObjectURL(new Blob(parts, { type }));
  const link = element("a", { href: address, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

export const downloadCsv = (classes) => save(csvOf(rows(), classes), "text/csv;charset=utf-8", "answers.csv");

export function downloadJson() {
  const lines = rows().map((row, place) => `${place ? "," : ""}\n${JSON.stringify(row)}`);
  save(['{"predictions": [', ...lines, "\n]}\n"], "application/json", "answers.json");
}
