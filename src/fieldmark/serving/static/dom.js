// Elements from plain values. Every text becomes a text node: nothing a name says is ever read as HTML.
import { shorten, visible } from "./text.js";

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
    else made.setAttribute(name, value === true ? "" : String(value));
  }
  made.append(...children.filter((child) => child !== null && child !== undefined));
  return made;
}

// A name of the user's, set apart so that its direction of reading does not turn the words around it.
export function nameOf(text, length = 80) {
  return element("bdi", { class: "name", title: visible(text) }, shorten(visible(text), length));
}

export function button(label, onclick, attributes = {}) {
  return element("button", { type: "button", onclick, ...attributes }, label);
}

// An <option> for each [value, text]; a class may bear any name, so its text is made visible first.
export function fillSelect(select, options) {
  const before = select.value;
  select.replaceChildren(...options.map(([value, text]) => element("option", { value, dir: "auto" }, visible(text))));
  if (options.some(([value]) => value === before)) select.value = before;
}

// Says something to screen readers; what comes within a second is said together.
let unsaid = [];
let speaking = null;
export function announce(text) {
  unsaid.push(text);
  speaking ??= setTimeout(() => {
    byId("live").textContent = unsaid.map((text) => text.replace(/\.$/, "")).join(". ");
    unsaid = [];
    speaking = null;
  }, 700);
}

// Moves the focus on from what is about to vanish: it would fall to the beginning of the page.
export function passFocus(from, to) {
  if (from.contains(document.activeElement)) to.focus({ preventScroll: true });
}

export const byId = (id) => document.getElementById(id);
