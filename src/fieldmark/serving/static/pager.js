// A long list in pages, so that the document stays small however many images there are.
import { button, element } from "./dom.js";

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
    this.page += by;
    this.onturn();
  }

  // The part of the list on this page; sets the buttons.
  cut(list) {
    const pages = Math.max(1, Math.ceil(list.length / this.size));
    this.page = Math.min(Math.max(0, this.page), pages - 1);
    const start = this.page * this.size;
    const end = Math.min(list.length, start + this.size);
    this.node.hidden = pages === 1;
    const [first, last, all] = [start + 1, end, list.length].map((number) => number.toLocaleString("en"));
    this.where.textContent = `${first}–${last} of ${all}`;
    this.before.disabled = this.page === 0;
    this.next.disabled = this.page === pages - 1;
    return list.slice(start, end);
  }
}
