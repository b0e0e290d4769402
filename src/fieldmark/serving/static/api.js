// Requests to the server that this page came from, and what can go wrong with one, in words.
import { sentence } from "./text.js";

// The server answered, with a status that is no success.
export class Refused extends Error {
  constructor(status, body, retryAfter) {
    const error = body?.error ?? {};
    const detail = error.detail ?? `the server answered with status ${status}`;
    super(error.hint ? `${detail}. ${sentence(error.hint).slice(0, -1)}` : detail);
    Object.assign(this, { status, code: error.code ?? `status_${status}`, retryAfter, body });
  }
}

// The server did not answer at all.
export class Gone extends Error {
  constructor() {
    super("the server does not answer");
  }
}

const parsed = (text) => {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
};

const seconds = (header) => {
  const value = Number(header);
  return header && Number.isFinite(value) && value >= 0 ? Math.min(value, 60) : null;
};

export async function ask(path, options = {}) {
  let response, text;
  try {
    response = await fetch(path, { credentials: "same-origin", cache: "no-store", ...options });
    text = await response.text();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Gone();
  }
  const body = parsed(text);
  if (!response.ok) throw new Refused(response.status, body, seconds(response.headers.get("Retry-After")));
  return body;
}

// As `ask`, and says how many bytes have been sent meanwhile, which fetch cannot.
export function send(path, form, { onprogress, signal }) {
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest();
    request.open("POST", path);
    request.upload.onprogress = (event) => onprogress(event.loaded);
    request.onerror = () => reject(new Gone());
    request.onabort = () => reject(new DOMException("stopped", "AbortError"));
    request.onload = () => {
      const body = parsed(request.responseText);
      if (request.status === 200 && body) resolve(body);
      else reject(new Refused(request.status, body, seconds(request.getResponseHeader("Retry-After"))));
    };
    const abort = () => request.abort();
    signal.addEventListener("abort", abort);
    // One signal serves all requests until they are stopped, and would keep each with its answer.
    request.onloadend = () => signal.removeEventListener("abort", abort);
    request.send(form);
  });
}

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

// Tries again while the server has too much to do, as long as it asks to wait.
export async function patiently(work, attempts = 6) {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      const busy = error instanceof Refused && (error.status === 429 || error.status === 503);
      if (!busy || attempt === attempts) throw error;
      await pause(1000 * (error.retryAfter ?? 1) + 200 * Math.random() * attempt);
    }
  }
}
