// What the page says when the server is gone, or no longer takes its token.
import { Gone, Refused, pause } from "./api.js";
import { byId } from "./dom.js";

const GONE =
  "The server does not answer. Is “fieldmark serve” still running? " +
  "This page keeps your answers and goes on by itself.";
const EXPIRED =
  "The server no longer knows this page: it was started again, with a new token. Open the address that " +
  "“fieldmark serve” printed, in another tab; then try again here. The answers stay.";

let returning = null;

function say(text) {
  byId("connection-text").textContent = text;
  byId("connection").hidden = text === "";
}

// Shows what concerns the whole page; returns the error in words for the place where it happened.
export function explainError(error) {
  if (error instanceof Gone) untilBack();
  if (isExpired(error)) say(EXPIRED);
  return error.message;
}

export const isExpired = (error) => error instanceof Refused && error.status === 401;

// A request was answered: whatever was said of the connection is over.
export function sayConnected() {
  if (!returning) say("");
}

// Resolves when the server answers again; all who wait share one question every two seconds.
export function untilBack() {
  returning ??= (async () => {
    say(GONE);
    while (!(await isThere())) await pause(2000);
    say("");
    returning = null;
  })();
  return returning;
}

async function isThere() {
  try {
    return (await fetch("/healthz", { cache: "no-store" })).ok;
  } catch {
    return false;
  }
}
