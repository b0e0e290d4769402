// The cards of one page of the list; a card that stays keeps its element, with its focus and its open switches.
import { Card } from "./card.js";
import { byId } from "./dom.js";
import { items, onChange, ordered, view } from "./store.js";
import { Pager } from "./pager.js";

const SIZE = 40;
const cards = new Map();
let pager;

export function startCards() {
  pager = new Pager(byId("cards-pages"), SIZE, "Pages of cards", () => {
    render();
    byId("tools-cards").scrollIntoView({ block: "start" });
  });
  onChange(render);
}

function render() {
  const matched = ordered();
  const shown = pager.cut(matched);
  const wanted = new Set(shown);
  const list = byId("cards");
  for (const item of shown) cards.get(item)?.update();
  const focused = document.activeElement;
  for (const [item, card] of cards) {
    if (wanted.has(item)) continue;
    card.remove();
    cards.delete(item);
  }
  let place = list.firstElementChild;
  for (const item of shown) {
    let card = cards.get(item);
    if (!card) cards.set(item, (card = new Card(item)));
    if (card.node === place) place = place.nextElementSibling;
    else list.insertBefore(card.node, place);
  }
  // A card that moved or went has lost the focus.
  if (list.contains(focused)) focused.focus({ preventScroll: true });
  else if (document.activeElement === document.body && focused !== document.body) list.focus({ preventScroll: true });
  byId("nothing").hidden = matched.length > 0 || items.length === 0;
  byId("nothing").textContent = view.show === "problems" ? "No image has a problem." : "No image is like that.";
}
