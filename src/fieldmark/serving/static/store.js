// The session: one item for each image, in the order they came, and which of them are shown how.

export const items = [];
export const view = { order: "added", show: "all", label: "", text: "" };
const listeners = new Set();
let telling = null;
let lastId = 0;

export function add(files) {
  const made = files.map(({ file, path, unreadable }) => ({
    id: (lastId += 1),
    file,
    path,
    unreadable, // why there is nothing to send; undefined for a file
    status: "waiting", // then sending; then answered or failed
    sent: 0, // bytes
    answer: null, // a line of `predict --json`, with the path as it is here
    error: null, // {code, text} where the server took no answer from it
    open: new Set(), // of "looked", "layers", "similar"
    explained: {}, // part -> promise of what /api/explain said
    version: 0,
  }));
  // Not push(...made): a call takes only so many arguments.
  for (const item of made) items.push(item);
  changed();
  return made;
}

export function clear() {
  items.length = 0;
  changed();
}

export function update(item, values) {
  Object.assign(item, values);
  item.version += 1;
  changed();
}

// Listeners hear of many changes at once: ten thousand answers draw the page a few times a second.
export function changed() {
  telling ??= setTimeout(() => {
    telling = null;
    for (const listener of listeners) listener();
  }, 60);
}

export const onChange = (listener) => listeners.add(listener);

export const isDone = (item) => item.status === "answered" || item.status === "failed";
export const isProblem = (item) => item.status === "failed" || Boolean(item.answer?.problem);
const labelOf = (item) => item.answer?.label ?? null;

const SHOWS = {
  all: () => true,
  unfamiliar: (item) => Boolean(item.answer?.unfamiliar),
  problems: isProblem,
  waiting: (item) => !isDone(item),
  class: (item) => labelOf(item) === view.label,
};

// What has no probability comes last, whichever way the others are ordered.
const sure = (item) => item.answer?.probability ?? null;
const compareSure = (a, b, sign) => {
  if (sure(a) === null || sure(b) === null) return (sure(a) === null) - (sure(b) === null);
  return sign * (sure(a) - sure(b));
};
export const compareText = (a, b) => (a < b ? -1 : a > b ? 1 : 0);

const ORDERS = {
  added: () => 0,
  unsure: (a, b) => compareSure(a, b, 1),
  sure: (a, b) => compareSure(a, b, -1),
  unfamiliar: (a, b) => (a.answer?.familiarity ?? 2) - (b.answer?.familiarity ?? 2),
  class: (a, b) => compareText(labelOf(a) ?? "\uffff", labelOf(b) ?? "\uffff") || compareSure(a, b, 1),
  name: (a, b) => compareText(a.path, b.path),
};

export function matching() {
  const text = view.text.trim().toLowerCase();
  const shows = SHOWS[view.show];
  return items.filter((item) => shows(item) && item.path.toLowerCase().includes(text));
}

export function ordered() {
  const order = ORDERS[view.order];
  return matching().sort((a, b) => order(a, b) || a.id - b.id);
}
