// One card: the picture, the answer with its bars, and the switches that look inside.
import { button, element, nameOf, passFocus } from "./dom.js";
import { showLayers, showLooked, showSimilar } from "./inside.js";
import { roughly, sentence, shorten, visible } from "./text.js";
import { draw, release } from "./thumbnails.js";
import { mayTryAgain, tryAgain } from "./upload.js";

const TOP = 5; // bars before "all"
const SWITCHES = [
  ["looked", "Looked at", "What it looked at"],
  ["layers", "Layers", "What each layer saw"],
  ["similar", "Similar", "The most similar training images"],
];
const PROBLEMS = JSON.parse(document.body.dataset.problems);

export function problemOf(item) {
  if (item.error) return sentence(item.error.text);
  const code = item.answer?.problem;
  return code ? sentence(PROBLEMS[code] ?? code) : "";
}

export class Card {
  constructor(item) {
    this.item = item;
    this.canvas = element("canvas", { role: "img", "aria-label": visible(item.path) });
    this.frame = element("div", { class: "frame waiting" }, this.canvas);
    this.answer = element("div", { class: "answers" });
    this.path = element("p", { class: "path" }, nameOf(item.path, 60));
    this.switches = element("div", { class: "switches" });
    this.inside = element("div", { class: "inside" });
    this.article = element(
      "article",
      { "aria-label": shorten(visible(item.path)), tabindex: -1 },
      element("div", { class: "main" }, this.frame, this.answer, this.path, this.switches),
      this.inside,
    );
    this.node = element("li", { class: "card", "data-id": item.id }, this.article);
    this.drawn = false;
    this.alive = true;
    this.version = -1;
    this.status = "";
    this.update();
  }

  update() {
    if (this.version === this.item.version) return;
    this.version = this.item.version;
    if (this.status === this.item.status) return this.showSent();
    this.status = this.item.status;
    this.frame.className = this.status === "waiting" || this.status === "sending" ? "frame waiting" : "frame";
    const shown = {
      waiting: () => this.showWaiting(),
      sending: () => this.showWaiting(),
      failed: () => this.showProblem(),
      answered: () => (this.item.answer.problem ? this.showProblem() : this.showAnswer()),
    };
    passFocus(this.switches, this.article); // they are made anew
    shown[this.status]();
  }

  showWaiting() {
    this.bar = element("span", { class: "fill" });
    this.answer.replaceChildren(
      element("p", { class: "soft" }, this.status === "sending" ? "Asking …" : "Waiting"),
      element("span", { class: "rail", "aria-hidden": "true" }, this.bar),
    );
    this.switches.replaceChildren();
    this.showSent();
  }

  showSent() {
    if (this.status === "sending")
      this.bar.style.width = `${(100 * this.item.sent) / Math.max(1, this.item.file.size)}%`;
  }

  showProblem() {
    this.frame.replaceChildren(element("span", { class: "gone" }, "no answer"));
    this.answer.replaceChildren(element("p", { class: "problem" }, problemOf(this.item)));
    this.switches.replaceChildren(
      ...(mayTryAgain(this.item) ? [button("Try again", () => tryAgain([this.item]), { class: "small" })] : []),
    );
  }

  showAnswer() {
    const { label, probability, unfamiliar } = this.item.answer;
    this.frame.replaceChildren(this.canvas);
    this.answer.replaceChildren(
      element("p", { class: "answer" }, nameOf(label, 60), element("span", { class: "share" }, roughly(probability))),
      ...(unfamiliar ? [element("p", { class: "flag" }, "Unlike anything in the training set")] : []),
      this.bars(),
    );
    this.drawPicture();
    this.showSwitches();
  }

  drawPicture() {
    draw(this.canvas, this.item.file, {
      isWanted: () => this.alive && this.status === "answered",
      ondone: (width, height) => this.canvas.classList.toggle("tiny", Math.max(width, height) < 100),
      onfail: () =>
        this.canvas.replaceWith(element("span", { class: "gone" }, "this browser shows no picture of this format")),
    });
  }

  bars() {
    const ranked = Object.entries(this.item.answer.probabilities).sort((a, b) => b[1] - a[1]);
    const list = element(
      "ul",
      { class: "bars", "aria-label": "Probability of each class" },
      ...ranked.slice(0, TOP).map(bar),
    );
    if (ranked.length <= TOP) return list;
    const more = button(
      `all ${ranked.length} classes`,
      () => {
        const open = more.getAttribute("aria-expanded") === "true";
        more.setAttribute("aria-expanded", String(!open));
        list.replaceChildren(...ranked.slice(0, open ? TOP : ranked.length).map(bar));
        list.classList.toggle("long", !open);
        list.tabIndex = open ? -1 : 0; // what scrolls can be reached by keyboard
      },
      { class: "link", "aria-expanded": "false" },
    );
    return element("div", {}, list, more);
  }

  showSwitches() {
    const group = SWITCHES.map(([name, text, title]) =>
      button(text, () => this.toggle(name), {
        title,
        "data-switch": name,
        "aria-pressed": String(this.item.open.has(name)),
      }),
    );
    this.switches.replaceChildren(...group);
    this.switches.setAttribute("role", "group");
    this.switches.setAttribute("aria-label", `Look inside the answer for ${visible(this.item.path)}`);
    for (const name of this.item.open) this.open(name);
  }

  toggle(name) {
    const open = this.item.open;
    if (open.has(name)) open.delete(name);
    else open.add(name);
    this.switches.querySelector(`[data-switch="${name}"]`).setAttribute("aria-pressed", String(open.has(name)));
    if (open.has(name)) this.open(name);
    else this.close(name);
  }

  open(name) {
    const place = element("section", {
      class: `panel panel-${name}`,
      "data-panel": name,
      "aria-label": SWITCHES.find(([each]) => each === name)[2],
      "aria-live": "polite",
    });
    const isWanted = () => this.alive && this.item.open.has(name) && place.isConnected;
    if (name === "looked") {
      this.node.classList.add("large");
      this.answer.after(place);
      showLooked(this.item, this.frame, place, isWanted);
      return;
    }
    const before = name === "layers" ? this.inside.firstChild : null;
    this.inside.insertBefore(place, before);
    this.node.classList.add("wide");
    if (name === "layers") showLayers(this.item, place, isWanted);
    else showSimilar(this.item, place, isWanted);
  }

  close(name) {
    this.node.querySelector(`[data-panel="${name}"]`)?.remove();
    if (name === "looked") {
      this.frame.querySelector(".overlay")?.remove();
      this.node.classList.remove("large");
    }
    this.node.classList.toggle("wide", this.inside.childElementCount > 0);
  }

  remove() {
    this.alive = false;
    this.node.remove();
    release(this.canvas);
  }
}

function bar([name, share], place) {
  const fill = element("span", { class: "fill" });
  fill.style.width = `${100 * share}%`;
  return element(
    "li",
    { class: place === 0 ? "first" : null, "data-class": name, "data-share": share },
    element("span", { class: "of" }, nameOf(name, 40)),
    element("span", { class: "rail", "aria-hidden": "true" }, fill),
    element("span", { class: "share" }, roughly(share)),
  );
}
