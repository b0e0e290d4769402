// Sorting and filtering, once above the cards and once above the table; both set the same view.
import { element, fillSelect } from "./dom.js";
import { changed, items, matching, onChange, view } from "./store.js";

const ORDERS = [
  ["added", "as added"],
  ["unsure", "least sure first"],
  ["sure", "surest first"],
  ["unfamiliar", "least familiar first"],
  ["class", "by class"],
  ["name", "by file name"],
];

export function startTools(place, classes, withOrder) {
  const order = element("select", {});
  fillSelect(order, ORDERS);
  const show = element("select", {});
  // A class may bear any name, the empty one too: options go by number.
  fillSelect(show, [
    ["all", "every image"],
    ["unfamiliar", "unlike the training set"],
    ["problems", "with a problem"],
    ["waiting", "still waiting"],
    ...classes.map((name, number) => [String(number), name]),
  ]);
  const text = element("input", { type: "search", spellcheck: "false", autocomplete: "off" });
  const shown = element("p", { class: "count", role: "status" });
  const labelled = (label, control) => element("label", {}, label, control);
  place.append(
    ...(withOrder ? [labelled("Order", order)] : []),
    labelled("Show", show),
    labelled("File name contains", text),
    shown,
  );

  place.addEventListener("input", () => {
    if (withOrder) view.order = order.value;
    const isClass = /^\d+$/.test(show.value);
    view.show = isClass ? "class" : show.value;
    view.label = isClass ? classes[Number(show.value)] : "";
    view.text = text.value;
    changed();
  });
  onChange(() => {
    if (withOrder) order.value = view.order;
    show.value = view.show === "class" ? String(classes.indexOf(view.label)) : view.show;
    if (text.value !== view.text) text.value = view.text;
    const said = `${matching().length.toLocaleString("en")} of ${items.length.toLocaleString("en")} shown`;
    if (shown.textContent !== said) shown.textContent = said;
    place.hidden = items.length === 0;
  });
}
