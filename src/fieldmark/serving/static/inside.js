// What a card's switches show: what the classifier looked at, what each layer saw, the most similar training images.
import { ask, patiently } from "./api.js";
import { explainError } from "./connection.js";
import { element, nameOf } from "./dom.js";
import { roughly, sentence, stopped, visible } from "./text.js";

const KEPT = 24; // images whose pictures are kept; each takes about a megabyte
const PARTS = { adding: "activation", covering: "occlusion", layers: "layers", similar: "similar" };
const WAYS = [
  ["adding", "What adds up", "each place's part in the answer"],
  ["covering", "What covering changes", "the answer while a grey patch covers the place"],
];
const kept = [];
let last = Promise.resolve(); // one at a time: each asks the network up to 82 times

function explained(item, name) {
  item.explained[name] ??= last = last.catch(() => null).then(() => request(item, PARTS[name]));
  const place = kept.indexOf(item);
  if (place >= 0) kept.splice(place, 1);
  kept.push(item);
  if (kept.length > KEPT) kept.shift().explained = {};
  return item.explained[name];
}

function request(item, parts) {
  const options = { method: "POST", body: item.file, headers: { "Content-Type": "application/octet-stream" } };
  return patiently(() => ask(`/api/explain?parts=${parts}`, options));
}

const picture = (src, alt, attributes = {}) => element("img", { src, alt, decoding: "async", ...attributes });
const note = (text) => element("p", { class: "note" }, text);

// Fills `place` when the answer is there; `isWanted` tells whether the switch is still on.
async function fill(place, item, name, isWanted, show) {
  place.setAttribute("aria-busy", "true");
  place.replaceChildren(element("p", { class: "note working" }, "Looking …"));
  try {
    const answer = await explained(item, name);
    if (!isWanted()) return;
    place.removeAttribute("aria-busy");
    place.replaceChildren(...show(answer));
  } catch (error) {
    item.explained[name] = undefined;
    if (!isWanted()) return;
    place.removeAttribute("aria-busy");
    place.replaceChildren(note(sentence(`Not to be had: ${explainError(error)}`)));
  }
}

// The overlay lies in the card's frame, its words below. Covering takes seconds on a slow machine: it is asked for when
// it is chosen, or where nothing adds up.
export function showLooked(item, frame, place, isWanted) {
  const words = element("div", { class: "panel" });
  const inputs = {};
  let chosen = null;
  const choose = (name) => {
    chosen = name;
    inputs[name].checked = true;
    const isStill = () => isWanted() && chosen === name;
    fill(words, item, name, isStill, (answer) => {
      if (answer[PARTS[name]]) return overlaid(answer, name, frame);
      if (name === "adding") choose("covering");
      return [note(sentence(answer.problem ?? "no picture of it can be made for this network"))];
    });
  };
  const group = element("div", { class: "ways", role: "radiogroup", "aria-label": "How it is asked" });
  for (const [name, text] of WAYS) {
    inputs[name] = element("input", { type: "radio", name: `way-${item.id}`, onchange: () => choose(name) });
    group.append(element("label", {}, inputs[name], text));
  }
  place.replaceChildren(group, words);
  choose("adding");
}

function overlaid(answer, name, frame) {
  const meaning = WAYS.find(([each]) => each === name)[2];
  const alt = `What speaks for ${visible(answer.label)} and against it: ${meaning}`;
  frame.querySelector(".overlay")?.remove();
  frame.append(picture(answer[PARTS[name]], alt, { class: "overlay" }));
  return [
    key(answer.label),
    answer.sentence ? element("p", { class: "sentence" }, visible(stopped(answer.sentence))) : null,
  ].filter(Boolean);
}

const key = (label) =>
  element(
    "p",
    { class: "key" },
    element("span", { class: "for" }, "orange"),
    " speaks for ",
    nameOf(label, 30),
    ", ",
    element("span", { class: "against" }, "purple"),
    " against it",
  );

export function showLayers(item, place, isWanted) {
  return fill(place, item, "layers", isWanted, (answer) => {
    const layers = answer.layers ?? [];
    if (!layers.length) return [note(sentence(answer.problem ?? "this network has no feature maps to show"))];
    const image = picture("", "", { class: "maps" });
    const slider = element("input", { type: "range", min: 1, max: layers.length, step: 1 });
    slider.value = 1;
    const where = element("output", {});
    const show = () => {
      const layer = layers[slider.value - 1];
      const name = visible(layer.name.replace(/^\d+ /, ""));
      const text = `Layer ${slider.value} of ${layers.length} · ${name} · ${shapeOf(layer.shape)}`;
      where.textContent = text;
      slider.setAttribute("aria-valuetext", text);
      image.src = layer.picture;
      image.alt = `Feature maps after ${name}, a small picture for each channel`;
    };
    slider.addEventListener("input", show);
    show();
    const steps = [
      ["Layer before", -1, "‹"],
      ["Next layer", 1, "›"],
    ].map(([label, by, sign]) =>
      element(
        "button",
        {
          type: "button",
          class: "step",
          "aria-label": label,
          onclick: () => {
            slider.value = Number(slider.value) + by;
            show();
          },
        },
        sign,
      ),
    );
    return [
      element(
        "div",
        { class: "slider" },
        steps[0],
        element("label", {}, element("span", { class: "hidden" }, "Layer"), slider),
        steps[1],
      ),
      where,
      element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Feature maps" }, image),
      note(
        "Each small picture is one channel, from its least value (dark) to its greatest (yellow). " +
          "The first layers see edges and colours, the last ones what tells the classes apart.",
      ),
    ];
  });
}

const shapeOf = ([channels, height, width]) => `${channels} channels of ${height} × ${width}`;

export function showSimilar(item, place, isWanted) {
  return fill(place, item, "similar", isWanted, (answer) => {
    if (!answer.similar?.length) return [note(sentence(answer.problem ?? "the training images are not at hand"))];
    const list = element("ol", { class: "similar" });
    for (const { path, label, similarity, thumbnail } of answer.similar) {
      const image = thumbnail ? picture(thumbnail, "") : element("span", { class: "gone" }, "not at hand");
      list.append(
        element(
          "li",
          {},
          element("div", { class: "frame" }, image),
          element("p", {}, nameOf(label, 30), " ", element("span", { class: "soft" }, roughly(similarity))),
          element("p", { class: "path" }, nameOf(path, 40)),
        ),
      );
    }
    return [
      list,
      note(
        "The training images that the network finds most alike, and how alike. " +
          "Where they are alike for the wrong reason, the answer has the wrong reason, too.",
      ),
    ];
  });
}
