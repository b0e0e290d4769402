// The queue: small batches, a few at a time; waits when the server asks to, and loses nothing.
import { Gone, Refused, pause, send } from "./api.js";
import { explainError, isExpired, sayConnected, untilBack } from "./connection.js";
import { items, update } from "./store.js";
import { megabytes } from "./text.js";

const SENDERS = 3; // requests under way
const BATCH_FILES = 8;
const BATCH_BYTES = 8e6;
const ATTEMPTS = 4; // for what may pass: a worker that was lost, a deadline

let limits = { file_bytes: 50e6 };
let waiting = []; // items, the next one last
let alone = new Set(); // items that are sent by themselves, since a batch with them was refused
let senders = 0;
let paused = false;
let stopping = new AbortController();
let heldUntil = 0; // when the server takes requests again, by its Retry-After

export const isPaused = () => paused;
export const setLimits = (given) => (limits = { ...limits, ...given });

export function enqueue(added) {
  const fit = [];
  for (const item of added) {
    if (item.unreadable) fail(item, "unreadable_file", item.unreadable);
    else if (item.file.size <= limits.file_bytes) fit.push(item);
    else fail(item, "file_too_large", `larger than the ${megabytes(limits.file_bytes)} that the server takes`);
  }
  waiting = fit.reverse().concat(waiting);
  work();
}

export function setPaused(value) {
  paused = value;
  work();
}

// Whether the server may yet answer: not what it takes of nobody, nor what the browser cannot read.
export const mayTryAgain = (item) =>
  Boolean(item.error) && item.error.code !== "file_too_large" && !item.unreadable;

export function tryAgain(tried) {
  for (const item of tried) update(item, { status: "waiting", error: null, sent: 0 });
  if (tried.length === 1) alone.add(tried[0]); // so that it fails nobody else's; of several a refused batch tells
  waiting = waiting.concat([...tried].reverse());
  work();
}

// Forgets what waits and what is under way.
export function stop() {
  waiting = [];
  alone = new Set();
  paused = false;
  stopping.abort();
  stopping = new AbortController();
}

function fail(item, code, text) {
  update(item, { status: "failed", error: { code, text } });
}

function work() {
  while (!paused && senders < SENDERS && waiting.length) {
    senders += 1;
    sendBatch(nextBatch(), stopping.signal).finally(() => {
      senders -= 1;
      work();
    });
  }
}

function nextBatch() {
  const batch = [waiting.pop()];
  let bytes = batch[0].file.size;
  while (waiting.length && batch.length < BATCH_FILES && !alone.has(batch[0]) && !alone.has(waiting.at(-1))) {
    bytes += waiting.at(-1).file.size;
    if (bytes > BATCH_BYTES) break;
    batch.push(waiting.pop());
  }
  return batch;
}

async function sendBatch(batch, signal) {
  for (const item of batch) update(item, { status: "sending" });
  for (let attempt = 1; ; attempt += 1) {
    await pause(Math.max(0, heldUntil - Date.now()));
    if (signal.aborted) return;
    try {
      const { predictions } = await send("/api/predict", formOf(batch), {
        signal,
        onprogress: (sent) => spread(batch, sent),
      });
      sayConnected();
      batch.forEach((item, place) => answered(item, predictions[place]));
      return;
    } catch (error) {
      if (signal.aborted) return;
      if (!(await mayPass(error, attempt, batch))) return giveUp(batch, error);
    }
  }
}

// Whether to send the same again, after a time.
async function mayPass(error, attempt, batch) {
  if (error instanceof Gone) {
    // A file that was changed or removed since it was chosen fails like a lost connection.
    if (!(await readable(batch))) return false;
    await untilBack();
    return true;
  }
  if (!(error instanceof Refused)) throw error;
  if (error.status === 429 || (error.status === 503 && attempt < ATTEMPTS)) {
    heldUntil = Math.max(heldUntil, Date.now() + 1000 * (error.retryAfter ?? 1));
    return true;
  }
  return batch.length === 1 && error.status >= 500 && attempt < ATTEMPTS;
}

async function readable(batch) {
  for (const item of batch) {
    try {
      await item.file.slice(0, 1).arrayBuffer();
    } catch {
      return false;
    }
  }
  return true;
}

// One bad file must not fail its neighbours: they are sent one by one.
async function giveUp(batch, error) {
  const text = explainError(error);
  if (batch.length > 1 && !isExpired(error)) {
    for (const item of batch) {
      alone.add(item);
      update(item, { status: "waiting", sent: 0 });
    }
    waiting.push(...batch.reverse());
    return;
  }
  const gone = error instanceof Gone;
  for (const item of batch) {
    alone.delete(item);
    fail(
      item,
      gone ? "unreadable_file" : error.code,
      gone ? "the browser can no longer read the file: was it moved or changed?" : text,
    );
  }
}

// The names stay here: the server needs none, and no form can garble them.
function formOf(batch) {
  const form = new FormData();
  batch.forEach((item, place) => form.append("files", item.file, `image-${place + 1}`));
  return form;
}

function answered(item, prediction) {
  alone.delete(item);
  update(item, { status: "answered", sent: item.file.size, answer: { ...prediction, path: item.path } });
}

function spread(batch, sent) {
  let left = sent;
  for (const item of batch) {
    const share = Math.min(left, item.file.size);
    left -= share;
    update(item, { sent: share });
  }
}

export function progress() {
  const done = items.filter((item) => item.status === "answered" || item.status === "failed").length;
  const bytes = items.reduce((sum, item) => sum + item.file.size + 1, 0);
  const sent = items.reduce(
    (sum, item) => sum + (item.status === "failed" ? item.file.size : item.sent) + (item.answer || item.error ? 1 : 0),
    0,
  );
  return { done, all: items.length, share: bytes ? sent / bytes : 1 };
}
