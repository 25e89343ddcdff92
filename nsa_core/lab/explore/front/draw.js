// What every picture shares: elements, numbers in words, controls, a note beside what is pointed at, and the life of
// a picture. Plain DOM and SVG; no library.
//
// A host gives a model with get(name), set(name, value), on(event, callback), off(event, callback), save_changes():
// anywidget's, or a page's own. Every picture reads two fields of it:
//   data   what is drawn; a picture never changes it
//   state  what the reader chose; a picture replaces it whole, so `change:state` is the only event

const SVG = "http://www.w3.org/2000/svg";

function made(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== null && value !== undefined && value !== false) element.setAttribute(name, value === true ? "" : value);
  }
  // JupyterLab would take the arrow keys for moving between cells; it looks for this on what has the focus.
  if (element.matches("input, select, button, [tabindex]")) element.setAttribute("data-lm-suppress-shortcuts", "");
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** An HTML element. Attributes that begin with "on" are listeners. */
export const h = (tag, attributes = {}, ...children) => made(document.createElement(tag), attributes, children);

/** An SVG element. */
export const s = (tag, attributes = {}, ...children) => made(document.createElementNS(SVG, tag), attributes, children);

/** Three significant digits, thousands by commas: 1078.4 is 1,078 and 0.0213 is 0.0213. */
export function three(number) {
  const size = Math.abs(number);
  if (size >= 100) return Math.round(number).toLocaleString("en-US");
  if (size === 0) return "0";
  const digits = Math.max(0, 2 - Math.floor(Math.log10(size)));
  return String(Number(number.toFixed(Math.min(digits, 6))));
}

export const us = (number) => `${three(number)}\u00a0\u00b5s`;
export const times = (number) => `${number.toFixed(number < 10 ? 1 : 0)}\u00d7`;
export const percent = (share) => `${Math.round(100 * share)}%`;
export const count = (number, noun) => `${number} ${noun}${number === 1 ? "" : "s"}`;
export const clamp = (value, least, most) => Math.min(most, Math.max(least, value));

/**
 * Draw a picture into `el` and keep it drawn. `build(root, data, set)` makes the parts that stay and returns
 * `draw(state, width)`; `set(change)` changes fields of the state. Returns what ends the picture.
 */
export function live({ model, el }, name, build) {
  const root = h("figure", { class: `nsa pic pic-${name}` });
  el.replaceChildren(root);
  let drawn = null, drawnWidth = 0;
  const again = () => {
    const state = model.get("state"), width = root.clientWidth;
    if (width < 120 || (state === drawn && width === drawnWidth)) return;
    [drawn, drawnWidth] = [state, width];
    draw(state, width);
  };
  const set = (change) => {
    model.set("state", { ...model.get("state"), ...change });
    model.save_changes();
    again();
  };
  const draw = build(root, model.get("data"), set);
  const watch = new ResizeObserver(again);
  watch.observe(root);
  model.on("change:state", again);
  again();
  return () => {
    watch.disconnect();
    model.off?.("change:state", again);
    root.dispatchEvent(new Event("nsa-end"));
  };
}

/** A labelled slider. `move(number)` shows a value that was set elsewhere. */
export function slider({ label, min, max, step = 1, unit = "", says = three, on }) {
  const value = h("b"), input = h("input", { type: "range", min, max, step, "aria-label": label, oninput: () => on(Number(input.value)) });
  const element = h("label", { class: "pic-slider" }, h("span", {}, label, " ", value), input);
  const move = (number) => {
    if (Number(input.value) !== number) input.value = number;
    value.textContent = says(number) + (unit && `\u00a0${unit}`);
    input.setAttribute("aria-valuetext", `${says(number)} ${unit}`.trim());
  };
  return { element, input, value, move };
}

export const button = (label, on, attributes = {}) => h("button", { type: "button", onclick: on, ...attributes }, label);

/** One of a few: buttons in a row. `move(value)` marks the one that is chosen. */
export function choice(label, options, on) {
  const buttons = options.map(([value, text]) => button(text, () => on(value), { "data-value": value }));
  const element = h("div", { class: "pic-choice", role: "group", "aria-label": label }, buttons);
  const move = (value) => buttons.forEach((b) => b.setAttribute("aria-pressed", b.dataset.value === String(value)));
  return { element, move };
}

/** A note beside what is pointed at or focused. `note.on(element, text)`; it never covers its own mark. */
export function notes(root) {
  const box = h("div", { class: "pic-note", role: "tooltip", hidden: true });
  root.append(box);
  const show = (event, text) => {
    box.textContent = typeof text === "function" ? text() : text;
    box.hidden = false;
    const frame = root.getBoundingClientRect(), mark = event.currentTarget.getBoundingClientRect();
    const left = clamp(mark.left + mark.width / 2 - frame.left - box.offsetWidth / 2, 0, frame.width - box.offsetWidth);
    const above = mark.top - frame.top - box.offsetHeight - 8;
    box.style.left = `${left}px`;
    box.style.top = `${above > 0 ? above : mark.bottom - frame.top + 8}px`;
  };
  const hide = () => { box.hidden = true; };
  const on = (element, text) => {
    for (const event of ["pointerenter", "focus"]) element.addEventListener(event, (e) => show(e, text));
    for (const event of ["pointerleave", "blur"]) element.addEventListener(event, hide);
    return element;
  };
  return { on, hide };
}

/** Arrow keys, Home and End move the focus along `elements`, of which one at a time is in the tab order. */
export function rove(elements, chosen = 0) {
  elements.forEach((element, at) => {
    element.setAttribute("tabindex", at === chosen ? 0 : -1);
    element.addEventListener("keydown", (event) => {
      const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
      const to = step ? clamp(at + step, 0, elements.length - 1) : { Home: 0, End: elements.length - 1 }[event.key];
      if (to === undefined) return;
      event.preventDefault();
      elements.forEach((other, index) => other.setAttribute("tabindex", index === to ? 0 : -1));
      elements[to].focus();
    });
  });
}

/** Linear and logarithmic scales from [a, b] to [from, to]. */
export const linear = (a, b, from, to) => (value) => from + ((value - a) / (b - a)) * (to - from);
export const logarithmic = (a, b, from, to) => (value) => linear(Math.log(a), Math.log(b), from, to)(Math.log(value));

/** Round numbers from 0 to `most`, about `about` of them. */
export function ticks(most, about = 5) {
  const rough = most / about, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((m) => m * power).find((size) => size >= rough);
  return Array.from({ length: Math.floor(most / step + 1e-9) + 1 }, (_, at) => at * step);
}
