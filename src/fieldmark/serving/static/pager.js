// A long list in pages, so that the document stays small however many images there are.
import { button, byId, element, passFocus } from "./dom.js";

export class Pager {
  constructor(place, size, label, onturn) {
    this.size = size;
    this.page = 0;
    this.where = element("span", { class: "soft" });
    this.before = button("Previous", () => this.turn(-1));
    this.next = button("Next", () => this.turn(1));
    this.node = element(
      "nav",
      { class: "pager", "aria-label": label, hidden: true },
      this.before,
      this.where,
      this.next,
    );
    this.onturn = onturn;
    place.append(this.node);
  }

  turn(by) {
    if (this.isOff(by < 0 ? this.before : this.next)) return;
    this.page += by;
    this.onturn();
  }

  isOff(button) {
    return button.getAttribute("aria-disabled") === "true";
  }

  // The part of the list on this page; sets the buttons.
  cut(list) {
    const pages = Math.max(1, Math.ceil(list.length / this.size));
    this.page = Math.min(Math.max(0, this.page), pages - 1);
    const start = this.page * this.size;
    const end = Math.min(list.length, start + this.size);
    if (pages === 1) passFocus(this.node, byId("main"));
    this.node.hidden = pages === 1;
    const [first, last, all] = [start + 1, end, list.length].map((number) => number.toLocaleString("en"));
    this.where.textContent = `${first}–${last} of ${all}`;
    // Not `disabled`, which would take the focus from who turns to the last page.
    this.before.setAttribute("aria-disabled", String(this.page === 0));
    this.next.setAttribute("aria-disabled", String(this.page === pages - 1));
    return list.slice(start, end);
  }
}
