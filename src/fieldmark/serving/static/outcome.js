// The end of a review: what was decided, and the command that trains again.
import { announce, byId } from "./dom.js";
import { count } from "./text.js";

export const REMOVE = "remove";

// Shows it, and returns the summary in words. `open`: how many are not decided.
export function showOutcome(items, open, command) {
  const removed = items.filter(({ correction }) => correction === REMOVE).length;
  const kept = items.filter(({ label, correction }) => correction === label).length;
  const changed = items.filter(({ correction }) => correction !== null).length - removed - kept;
  const parts = [
    `${count(changed, "label")} changed`,
    `${count(removed, "image")} left out`,
    `${count(kept, "label")} kept`,
    ...(open ? [`${count(open, "image")} skipped`] : []),
  ];
  const nothing = "Nothing is doubtful: no suspected label, no mistake and no unfamiliar image was found.";
  const summary = items.length ? `${parts.join(", ")}.` : nothing;
  byId("review-end-title").textContent = open ? "That was the last one" : "That is all";
  byId("review-summary").textContent = summary;
  byId("review-retrain").hidden = changed + removed === 0 || command === "";
  byId("review-command").textContent = command;
  byId("review-again").hidden = items.length === 0;
  return summary;
}

export async function copyCommand() {
  const command = byId("review-command");
  try {
    await navigator.clipboard.writeText(command.textContent);
    announce("Copied");
    byId("review-copy").textContent = "Copied";
    setTimeout(() => (byId("review-copy").textContent = "Copy"), 2000);
  } catch {
    // Without https the clipboard is closed to pages: the text is selected for the reader to copy.
    getSelection().selectAllChildren(command);
    announce("Selected; press Control C to copy");
  }
}
