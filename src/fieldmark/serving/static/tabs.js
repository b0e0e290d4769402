// Tabs: one panel at a time, by mouse or arrow keys; the address says which, so that it can be reloaded.
import { byId } from "./dom.js";

const shown = () => [...byId("tabs").querySelectorAll('[role="tab"]')].filter((tab) => !tab.hidden);
const nameOf = (tab) => tab.id.replace("tab-", "");
const listeners = {};

export const onTab = (name, listener) => (listeners[name] = listener);
export const current = () => nameOf(shown().find((tab) => tab.getAttribute("aria-selected") === "true"));

export function select(name, byArrows = false) {
  const chosen = shown().find((tab) => nameOf(tab) === name) ?? shown()[0];
  for (const tab of byId("tabs").querySelectorAll('[role="tab"]')) {
    const isChosen = tab === chosen;
    tab.setAttribute("aria-selected", String(isChosen));
    tab.tabIndex = isChosen ? 0 : -1;
    byId(`panel-${nameOf(tab)}`).hidden = !isChosen;
  }
  if (byArrows) chosen.focus();
  history.replaceState(null, "", `#${nameOf(chosen)}`);
  listeners[nameOf(chosen)]?.(byArrows);
}

export function startTabs() {
  byId("tabs").addEventListener("click", (event) => {
    const tab = event.target.closest('[role="tab"]');
    if (tab) select(nameOf(tab));
  });
  byId("tabs").addEventListener("keydown", (event) => {
    const tabs = shown();
    const place = tabs.indexOf(document.activeElement);
    const next = { ArrowRight: place + 1, ArrowLeft: place - 1, Home: 0, End: tabs.length - 1 }[event.key];
    if (next === undefined || place < 0) return;
    event.preventDefault();
    select(nameOf(tabs[(next + tabs.length) % tabs.length]), true);
  });
  addEventListener("hashchange", () => select(location.hash.slice(1)));
}
