// The page's beginning: asks the server what it is, and ties the parts together.
import { ask } from "./api.js";
import { problemOf } from "./card.js";
import { startCards } from "./cards.js";
import { explainError } from "./connection.js";
import { announce, byId, passFocus } from "./dom.js";
import { downloadCsv, downloadJson } from "./download.js";
import { acceptFiles } from "./files.js";
import { openReview, startReview } from "./review.js";
import { add, clear, isDone, items, onChange } from "./store.js";
import { render as renderTable, startTable } from "./table.js";
import { current, onTab, select, startTabs } from "./tabs.js";
import { count, megabytes, percent, visible } from "./text.js";
import { startTools } from "./tools.js";
import { enqueue, isPaused, mayTryAgain, progress, setLimits, setPaused, stop, tryAgain } from "./upload.js";

const said = new WeakSet(); // items whose answer was announced

// What came in: its images go into the queue, and what became of the rest is said, also where no image is among it.
function take(files, hidden, how) {
  if (current() !== "classify") select("classify");
  const unreadable = files.filter((each) => each.unreadable).length;
  const images = files.length - unreadable;
  const left = [
    files.length ? "" : `No image in what was ${how}`,
    hidden ? `${count(hidden, "hidden file")} left out` : "",
    unreadable ? `${count(unreadable, "file or folder", "files or folders")} cannot be read` : "",
  ].filter(Boolean);
  byId("intake").textContent = left.length ? `${left.join("; ")}.` : "";
  announce([...(images ? [`${count(images, "image")} added`] : []), ...left].join(", "));
  enqueue(add(files));
}

function sayReading() {
  if (current() !== "classify") select("classify");
  byId("intake").textContent = "Reading the folder …";
  announce("Reading the folder");
}

function showProgress() {
  const { done, all, share } = progress();
  document.body.classList.toggle("begun", all > 0);
  byId("status").hidden = all === 0;
  byId("progress").hidden = done === all;
  byId("progress").value = share;
  // Not to "Clear all": whoever pressed Pause a moment too late would lose the answers.
  if (done === all) passFocus(byId("pause"), byId("status"));
  byId("pause").hidden = done === all;
  byId("pause").textContent = isPaused() ? "Continue" : "Pause";
  const problems = items.filter((item) => item.error || item.answer?.problem).length;
  const state =
    done === all
      ? `${count(all, "image")} answered`
      : `${done.toLocaleString("en")} of ${count(all, "image")} answered`;
  byId("status-text").textContent = problems ? `${state}, ${count(problems, "problem")} among them` : state;
  const failed = items.filter(mayTryAgain).length;
  if (failed < 2) passFocus(byId("again"), byId("status"));
  byId("again").hidden = failed < 2;
  byId("again").textContent = `Try all ${failed.toLocaleString("en")} again`;
  byId("count-answers").textContent = all ? done.toLocaleString("en") : "";
  for (const id of ["download-csv", "download-json"]) byId(id).disabled = done === 0;
  byId("answers-empty").hidden = all > 0;
  byId("answers-filled").hidden = all === 0;
  announceAnswers(done, all);
}

// A few answers are read out one by one, many as a number.
function announceAnswers(done, all) {
  const fresh = items.filter((item) => isDone(item) && !said.has(item));
  if (!fresh.length) return;
  for (const item of fresh) said.add(item);
  if (all <= 5) for (const item of fresh) announce(`${visible(item.path)}: ${spoken(item)}`);
  else if (done === all) announce(`All ${count(all, "image")} answered`);
  else if (Math.floor(done / 100) > Math.floor((done - fresh.length) / 100))
    announce(`${done} of ${count(all, "image")} answered`);
}

function spoken(item) {
  const { label, probability, unfamiliar } = item.answer ?? {};
  return (
    problemOf(item) ||
    `${visible(label)}, ${percent(probability)}${unfamiliar ? ", unlike anything in the training set" : ""}`
  );
}

function measured({ accuracy, interval, n, split }) {
  if (typeof accuracy !== "number") return "";
  const around = interval ? ` (95 % interval ${percent(interval[0])} to ${percent(interval[1])})` : "";
  return `Right on ${percent(accuracy)} of ${count(n, `${split} image`)}${around}. `;
}

function showModel(model) {
  setLimits(model.limits ?? {});
  byId("lead").textContent = `${measured(model)}Ask it about yours.`;
  const formats = (model.formats ?? []).join(", ");
  const most = megabytes(model.limits?.file_bytes ?? 50e6);
  byId("formats").textContent = `${formats}; up to ${most} each. Images are answered in memory and kept nowhere.`;
  byId("tab-report").hidden = !model.report;
  byId("tab-review").hidden = !model.review;
  startTools(byId("tools-cards"), model.classes, true);
  startTools(byId("tools-answers"), model.classes, false);
  byId("download-csv").addEventListener("click", () => downloadCsv(model.classes));
  byId("download-json").addEventListener("click", downloadJson);
}

function clearAll() {
  stop();
  clear();
  byId("intake").textContent = "";
  byId("button-files").focus();
  announce("All answers cleared");
}

async function start() {
  try {
    showModel(await ask("/api/model"));
  } catch (error) {
    byId("lead").textContent = `This page cannot work: ${explainError(error)}.`;
    return;
  }
  startTabs();
  startCards();
  startTable();
  startReview();
  onTab("answers", renderTable);
  onTab("review", openReview);
  onTab("report", () => {
    if (!byId("report").getAttribute("src")) byId("report").src = "/report/";
  });
  onChange(showProgress);
  byId("pause").addEventListener("click", () => {
    setPaused(!isPaused());
    showProgress();
  });
  byId("again").addEventListener("click", () => tryAgain(items.filter(mayTryAgain)));
  byId("clear").addEventListener("click", clearAll);
  addEventListener("beforeunload", (event) => {
    if (items.some((item) => !isDone(item))) event.preventDefault();
  });
  acceptFiles(take, sayReading);
  select(location.hash.slice(1) || "classify");
  document.body.classList.add("ready");
}

start();
