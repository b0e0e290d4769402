// Review: doubtful labels one after another, by keyboard; each decision is saved at once, no image is touched.
import { Gone, Refused, ask } from "./api.js";
import { explainError } from "./connection.js";
import { announce, byId, element, fillSelect, nameOf } from "./dom.js";
import { REMOVE, copyCommand, showOutcome } from "./outcome.js";
import { count, percent, shorten, visible } from "./text.js";

const DIGITS = 9; // classes that have a key of their own
const MOST_LINES = 3; // images that a message names
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
let undoable = []; // decisions {item, correction, before}, the last one last
let queue = []; // decisions that are still to be saved, in the order of the keys; the first is on its way
let saving = Promise.resolve(); // ends with the queue
let made = 0; // decisions, so that an answer from before one of them is not taken for the newest
const unsaved = new Map(); // item -> why its decision was not taken, until the item has been on the screen
let note = ""; // what else is to be said

// By arrow keys the focus stays on the tabs; otherwise it goes to where the keys work.
export async function openReview(byArrows) {
  if (!byArrows) byId("review-panel").focus({ preventScroll: true });
  if (all.length && place < list.length) return;
  say("Reading what is doubtful …");
  if (await load()) choose(byId("review-reason").value || "all");
}

// Whether the list was read. Suspected labels may take the server some seconds: they are asked for again.
async function load() {
  let answer, before;
  try {
    do {
      await saving;
      before = made;
      answer = await ask("/api/review");
    } while (made !== before);
  } catch (error) {
    say(`The list cannot be read: ${explainError(error)}.`);
    return false;
  }
  classes = answer.classes;
  all = known(answer.items);
  ambiguous = classes.includes(REMOVE);
  choices = classes.filter((name) => name !== REMOVE);
  showChoices();
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

// An image that was listed before keeps its item.
// `saved` is the correction on the server, `correction` what was decided here.
function known(items) {
  const before = new Map(all.map((item) => [item.id, item]));
  return items.map((item) => Object.assign(before.get(item.id) ?? {}, item, { saved: item.correction }));
}

async function loadAgain() {
  if (await load()) choose(byId("review-reason").value, list[place]);
}

function say(text) {
  note = text;
  showMessage();
}

// What was not saved names its image, unless that is the one on the screen.
function showMessage() {
  const lines = [...unsaved]
    .slice(0, MOST_LINES)
    .map(([item, why]) => element("p", {}, ...(item === list[place] ? [] : [nameOf(item.path), ": "]), why));
  const more = unsaved.size - lines.length;
  const said = element(
    "div",
    {},
    note ? element("p", {}, note) : null,
    ...lines,
    more > 0 ? element("p", {}, `Not saved either: ${count(more, "more image")}.`) : null,
  );
  // What has not changed is not read out again.
  const message = byId("review-message");
  if (said.textContent !== message.textContent) message.replaceChildren(...said.childNodes);
}

function showReasons() {
  const options = Object.entries(REASONS)
    .map(([reason, [title]]) => [reason, title, all.filter((item) => item.reason === reason).length])
    .filter(([, , number]) => number > 0)
    .map(([reason, title, number]) => [reason, `${title} (${number})`]);
  fillSelect(byId("review-reason"), [["all", `Everything (${all.length})`], ...options]);
}

// Shows the images of a reason from the first that is undecided, or from `now` where it is among them.
function choose(reason, now = null) {
  list = all.filter((item) => reason === "all" || item.reason === reason);
  const open = list.findIndex((item) => item.correction === null);
  place = list.includes(now) ? list.indexOf(now) : open < 0 ? list.length : open;
  show();
}

const decided = () => list.filter((item) => item.correction !== null).length;

function show() {
  showState();
  if (place < list.length) showItem(list[place]);
  else announce(showOutcome(all, list.length - decided(), command));
  keepFocus();
}

// What a decision changes, here or on the server.
function showState() {
  byId("review-progress").max = Math.max(1, list.length);
  byId("review-progress").value = decided();
  const late = queue.length > 1 ? `, ${queue.length} being saved` : "";
  byId("review-done").textContent = `${decided()} of ${list.length} decided${late}`;
  byId("review-one").hidden = place >= list.length;
  byId("review-end").hidden = place < list.length;
  byId("review-undo").disabled = undoable.length === 0;
  byId("review-back").disabled = place === 0;
  byId("review-next").disabled = place >= list.length;
  if (place < list.length) showDecision(list[place]);
  showMessage();
}

function keepFocus() {
  const active = document.activeElement;
  if (active === document.body || active.disabled || active.closest("[hidden]"))
    byId("review-panel").focus({ preventScroll: true });
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
  [...byId("review-classes").children].forEach((choice, number) =>
    choice.setAttribute("aria-pressed", String(item.correction === choices[number])),
  );
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
  byId("review-other").value = "";
}

// The classes that an image may be given: the same for all, so that a button keeps the focus from image to image.
function showChoices() {
  const others = classes.length > 2 ? choices.slice(0, DIGITS) : [];
  byId("review-classes").replaceChildren(
    ...others.map((name, number) =>
      element(
        "button",
        { type: "button", onclick: () => decide(name) },
        element("kbd", {}, String(number + 1)),
        nameOf(name, 30),
      ),
    ),
  );
  byId("review-more").hidden = choices.length <= DIGITS;
  if (choices.length > DIGITS)
    fillSelect(byId("review-other"), [
      ["", "another class …"],
      ...choices.map((name, number) => [String(number), name]),
    ]);
}

const move = (by) => {
  unsaved.delete(list[place]); // it has been seen
  place = Math.min(Math.max(0, place + by), list.length);
  say("");
  show();
};

// Decides about the image on the screen. The next one comes at once; the decision is saved behind it.
function decide(correction) {
  const item = list[place];
  if (!item || correction === null || (ambiguous && correction === REMOVE)) return;
  const decision = { item, correction, before: item.correction };
  if (correction !== item.correction) undoable.push(decision);
  enqueue(decision);
  move(1);
}

function undo() {
  const undone = undoable.pop();
  if (!undone) return;
  enqueue({ item: undone.item, correction: undone.before, undone });
  if (!list.includes(undone.item)) choose((byId("review-reason").value = "all"));
  place = Math.max(0, list.indexOf(undone.item));
  say("");
  show();
}

function enqueue(decision) {
  made += 1;
  decision.item.correction = decision.correction;
  queue.push(decision);
  saving = saving.then(() => save(decision));
}

async function save(decision) {
  const { item, correction } = decision;
  if (!queue.includes(decision)) return; // it was given up
  try {
    const answer = await ask(`/api/review/${encodeURIComponent(item.id)}`, {
      method: "PUT",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ correction, expected: item.saved }),
    });
    item.saved = answer.item.correction;
    queue.shift();
    // Another table may say something of an image whose decision was undone.
    if (!queue.some((each) => each.item === item)) item.correction = item.saved;
    unsaved.delete(item);
  } catch (error) {
    const why = await explained(error, item);
    giveUp(item);
    unsaved.set(item, why);
  }
  showState();
  if (place >= list.length) showOutcome(all, list.length - decided(), command);
  keepFocus();
}

// What else was decided about the image meanwhile rests on what was not saved: all of it is to be decided again.
function giveUp(item) {
  const dropped = queue.filter((each) => each.item === item);
  queue = queue.filter((each) => each.item !== item);
  const again = dropped.map(({ undone }) => undone).filter((each) => each && !dropped.includes(each));
  undoable = [...undoable.filter((each) => !dropped.includes(each)), ...again];
  item.correction = item.saved;
}

async function explained(error, item) {
  if (!(error instanceof Refused && error.status === 409))
    return `Not saved: ${explainError(error)}${error instanceof Gone ? ". Decide again when it is back" : ""}.`;
  const { items } = await ask("/api/review").catch(() => ({ items: [] }));
  const now = items.find((each) => each.id === item.id);
  if (now) item.saved = now.correction;
  const what =
    item.saved === null ? "undecided" : item.saved === REMOVE ? "left out" : `labelled ${visible(item.saved)}`;
  return `Another tab or program decided about this image meanwhile: it is ${what} now. Look again, then decide.`;
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
  addEventListener("beforeunload", (event) => {
    if (queue.length) event.preventDefault();
  });
}
