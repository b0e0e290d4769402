// Review: doubtful labels one after another, by keyboard; each decision is saved at once, no image is touched.
import { Gone, Refused, ask } from "./api.js";
import { explainError } from "./connection.js";
import { announce, button, byId, element, fillSelect, nameOf } from "./dom.js";
import { REMOVE, copyCommand, showOutcome } from "./outcome.js";
import { count, percent, shorten, visible } from "./text.js";

const DIGITS = 9; // classes that have a key of their own
const REASONS = {
  suspected_label: ["Suspected label", "Images like this one mostly bear another label."],
  mistake: ["Mistake", "The classifier answered another class: it is wrong, or the label is."],
  unfamiliar: ["Unfamiliar", "Unlike anything in the training set: does it belong here at all?"],
  likelier_class: ["Another class a little likelier", "That is no evidence: most of these labels are right."],
};

let all = []; // every item
let list = []; // those of the chosen reason
let place = 0; // in `list`; its length: the end
let classes = [];
let choices = []; // the classes that an image may be given
let ambiguous = false; // whether a class is called as the table calls what is left out
let command = "";
const undoable = []; // [id, the correction before]
let saving = false;

// By arrow keys the focus stays on the tabs; otherwise it goes to where the keys work.
export async function openReview(byArrows) {
  if (!byArrows) byId("review-panel").focus({ preventScroll: true });
  if (all.length && place < list.length) return;
  say("Reading what is doubtful …");
  if (await load()) choose(byId("review-reason").value || "all");
}

// Whether the list was read. Suspected labels may take the server some seconds: they are asked for again.
async function load() {
  let answer;
  try {
    answer = await ask("/api/review");
  } catch (error) {
    say(`The list cannot be read: ${explainError(error)}.`);
    return false;
  }
  ({ items: all, classes } = answer);
  ambiguous = classes.includes(REMOVE);
  choices = classes.filter((name) => name !== REMOVE);
  byId("review-word").hidden = !ambiguous;
  byId("review-remove").hidden = ambiguous;
  command = answer.command ?? "";
  byId("review-table").textContent = visible(answer.table ?? "corrections.csv");
  byId("review-help").hidden = all.length === 0;
  showReasons();
  say(
    answer.problem
      ? `Decisions cannot be saved: ${answer.problem}`
      : answer.more
        ? `${count(answer.more, "more image")} come after these.`
        : "",
  );
  byId("review-pending").hidden = !answer.pending;
  if (answer.pending) setTimeout(loadAgain, 2000);
  return true;
}

async function loadAgain() {
  const now = list[place]?.id;
  if (saving) setTimeout(loadAgain, 500);
  else if (await load()) {
    choose(byId("review-reason").value);
    const found = list.findIndex((item) => item.id === now);
    if (found >= 0) {
      place = found;
      show();
    }
  }
}

function say(text) {
  byId("review-message").textContent = text;
}

function showReasons() {
  const options = Object.entries(REASONS)
    .map(([reason, [title]]) => [reason, title, all.filter((item) => item.reason === reason).length])
    .filter(([, , number]) => number > 0)
    .map(([reason, title, number]) => [reason, `${title} (${number})`]);
  fillSelect(byId("review-reason"), [["all", `Everything (${all.length})`], ...options]);
}

function choose(reason) {
  list = all.filter((item) => reason === "all" || item.reason === reason);
  const open = list.findIndex((item) => item.correction === null);
  place = open < 0 ? list.length : open;
  show();
}

const decided = () => list.filter((item) => item.correction !== null).length;

function show() {
  byId("review-progress").max = Math.max(1, list.length);
  byId("review-progress").value = decided();
  byId("review-done").textContent = `${decided()} of ${list.length} decided`;
  byId("review-one").hidden = place >= list.length;
  byId("review-end").hidden = place < list.length;
  if (place < list.length) showItem(list[place]);
  else showEnd();
  const active = document.activeElement;
  if (active.disabled || active.closest("[hidden]")) byId("review-panel").focus({ preventScroll: true });
}

function showItem(item) {
  const [title, meaning] = REASONS[item.reason];
  byId("review-where").textContent = `${place + 1} of ${list.length}`;
  byId("review-eyebrow").textContent = title;
  byId("review-meaning").textContent = meaning;
  byId("review-path").replaceChildren(nameOf(item.path, 80));
  byId("review-label").replaceChildren(nameOf(item.label, 60));
  byId("review-suggested").replaceChildren(
    ...(item.suggested === null
      ? ["–"]
      : [nameOf(item.suggested, 60), item.probability === null ? "" : ` ${percent(item.probability)}`]),
  );
  byId("review-split").textContent = item.split;
  showDecision(item);
  showPicture(item);
  showButtons(item);
  const suggested = item.suggested === null ? "" : `, looks like ${visible(item.suggested)}`;
  announce(
    `${place + 1} of ${list.length}. ${title}: ${visible(item.path)}, labelled ${visible(item.label)}${suggested}`,
  );
}

function wordsOf({ label, correction }) {
  if (correction === null) return ["Not decided yet"];
  if (correction === REMOVE) return ["Left out of training"];
  return correction === label ? ["Kept as it is"] : ["Label changed to ", nameOf(correction, 60)];
}

function showDecision(item) {
  byId("review-decision").replaceChildren(...wordsOf(item));
  byId("review-decision").classList.toggle("soft", item.correction === null);
}

const address = (item) => `/api/review/${encodeURIComponent(item.id)}/image`;

function showPicture(item) {
  const image = byId("review-image");
  const gone = byId("review-gone");
  gone.hidden = true;
  image.hidden = false;
  image.onerror = () => {
    image.hidden = true;
    gone.hidden = false;
  };
  image.alt = `The image ${visible(item.path)}`;
  image.src = address(item);
  const next = list[place + 1];
  if (next) new Image().src = address(next);
}

// The class that "Change to" offers, or null.
function targetOf({ suggested, label }) {
  const other = classes.length === 2 ? classes.find((name) => name !== label) : null;
  const target = suggested !== null && suggested !== label ? suggested : other;
  return choices.includes(target) ? target : null;
}

function showButtons(item) {
  const target = targetOf(item);
  byId("review-change").hidden = target === null;
  byId("review-change-to").replaceChildren(...(target === null ? [] : [nameOf(target, 40)]));
  byId("review-change").onclick = () => decide(target);
  // Of a mistake the label is often right: there no decision stands out.
  byId("review-change").classList.toggle("primary", item.reason === "suspected_label");
  byId("review-keep").hidden = ambiguous && item.label === REMOVE;
  byId("review-keep-as").replaceChildren(nameOf(item.label, 40));
  byId("review-undo").disabled = undoable.length === 0;
  byId("review-back").disabled = place === 0;
  byId("review-next").disabled = false;
  const others = classes.length > 2 ? choices.slice(0, DIGITS) : [];
  byId("review-classes").replaceChildren(
    ...others.map((name, number) =>
      button("", () => decide(name), { class: "choice", "aria-pressed": String(item.correction === name) }),
    ),
  );
  [...byId("review-classes").children].forEach((made, number) =>
    made.append(element("kbd", {}, String(number + 1)), nameOf(others[number], 30)),
  );
  byId("review-more").hidden = choices.length <= DIGITS;
  if (choices.length > DIGITS)
    fillSelect(byId("review-other"), [
      ["", "another class …"],
      ...choices.map((name, number) => [String(number), name]),
    ]);
  byId("review-other").value = "";
}

function showEnd() {
  byId("review-next").disabled = true;
  byId("review-back").disabled = list.length === 0;
  byId("review-undo").disabled = undoable.length === 0;
  announce(showOutcome(all, list.length - decided(), command));
}

const move = (by) => {
  place = Math.min(Math.max(0, place + by), list.length);
  say("");
  show();
};

async function decide(correction) {
  const item = list[place];
  if (!item || saving || correction === null || (ambiguous && correction === REMOVE)) return;
  const before = item.correction;
  if (!(await save(item, correction))) return;
  if (before !== correction) undoable.push([item.id, before]);
  if (list[place] === item) move(1);
}

async function undo() {
  if (saving || !undoable.length) return;
  const [id, before] = undoable.at(-1);
  const item = all.find((each) => each.id === id);
  if (!list.includes(item)) choose((byId("review-reason").value = "all"));
  place = list.indexOf(item);
  if (await save(item, before)) undoable.pop();
  show();
}

// Whether the correction stands on the server now. Says what is wrong where it does not.
async function save(item, correction) {
  saving = true;
  try {
    const body = JSON.stringify({ correction, expected: item.correction });
    const answer = await ask(`/api/review/${encodeURIComponent(item.id)}`, {
      method: "PUT",
      headers: { "Content-Type": "application/json" },
      body,
    });
    Object.assign(item, answer.item);
    say("");
    return true;
  } catch (error) {
    if (error instanceof Refused && error.status === 409) await showConflict(item);
    else say(`Not saved: ${explainError(error)}${error instanceof Gone ? ". Decide again when it is back" : ""}.`);
    return false;
  } finally {
    saving = false;
  }
}

async function showConflict(item) {
  const { items } = await ask("/api/review").catch(() => ({ items: [] }));
  const now = items.find((each) => each.id === item.id);
  if (now) item.correction = now.correction;
  show();
  const what =
    item.correction === null
      ? "undecided"
      : item.correction === REMOVE
        ? "left out"
        : `labelled ${visible(item.correction)}`;
  say(`Another tab or program decided about this image meanwhile: it is ${what} now. Look again, then decide.`);
}

const KEYS = {
  k: () => list[place] && decide(list[place].label),
  c: () => byId("review-change").hidden || byId("review-change").click(),
  r: () => decide(REMOVE),
  u: undo,
  arrowleft: () => move(-1),
  arrowright: () => move(1),
};

// Only while the focus is in the panel: single letters elsewhere belong to the browser and to screen readers.
function onKey(event) {
  // A key that is held down must not decide about images that nobody has seen.
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey || event.target.matches("select, input, textarea"))
    return;
  const digit = /^[1-9]$/.test(event.key) && choices[Number(event.key) - 1];
  const action = typeof digit === "string" ? () => decide(digit) : KEYS[event.key.toLowerCase()];
  if (!action) return;
  event.preventDefault();
  // A button that is about to vanish must not take the focus with it.
  byId("review-panel").focus({ preventScroll: true });
  action();
}

export function startReview() {
  byId("review-panel").addEventListener("keydown", onKey);
  byId("review-keep").addEventListener("click", KEYS.k);
  byId("review-remove").addEventListener("click", KEYS.r);
  byId("review-undo").addEventListener("click", undo);
  byId("review-back").addEventListener("click", () => move(-1));
  byId("review-next").addEventListener("click", () => move(1));
  byId("review-again").addEventListener("click", () => ((place = 0), show()));
  byId("review-copy").addEventListener("click", copyCommand);
  byId("review-reason").addEventListener("change", (event) => choose(event.target.value));
  byId("review-other").addEventListener(
    "change",
    (event) => event.target.value !== "" && decide(choices[Number(event.target.value)]),
  );
}
