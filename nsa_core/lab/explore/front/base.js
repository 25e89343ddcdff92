// What all modules share: elements, colours that follow the page's theme, and cells out of their runs.

/** An element: h("button", {class: "x", onclick: f}, "text", child). Properties that start with `on` are listeners. */
export function h(tag, properties = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name in element && name !== "list") element[name] = value;
    else if (value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined));
  return element;
}

/** Cells from [value, count, increment, ...], see `runs` in scene.py; rules.js has no need to pack them. */
export function cells(runs) {
  if (ArrayBuffer.isView(runs)) return runs;
  let size = 0;
  for (let i = 1; i < runs.length; i += 3) size += runs[i];
  const out = new Int32Array(size);
  for (let i = 0, at = 0; i < runs.length; i += 3)
    for (let k = 0; k < runs[i + 1]; k++) out[at++] = runs[i] + k * runs[i + 2];
  return out;
}

/** Scenes arrive packed and are unpacked once. */
const unpacked = new WeakMap();
export function unpack(scene) {
  if (!unpacked.has(scene)) {
    const fields = scene.fields.map((field) => ({
      ...field,
      rows: field.shape[0],
      columns: field.shape[1],
      values: cells(field.values),
      states: cells(field.states),
      ages: cells(field.ages),
      owners: cells(field.owners),
    }));
    const whole = { ...scene, fields };
    unpacked.set(scene, whole).set(whole, whole);
  }
  return unpacked.get(scene);
}

export const STATES = ["read", "unread", "stale", "never", "constant", "fault", "foreign"];

// Apart for every kind of colour blindness where they can meet in one batch; every request carries its name as well.
const HUES = [[47, 111, 176], [224, 145, 15], [27, 154, 116], [201, 95, 154], [138, 109, 59], [98, 180, 224]];
const GREY = [128, 132, 140];
export const hue = (person) => (person > 0 ? HUES[(person - 1) % HUES.length] : GREY);
export const css = (rgb) => `rgb(${rgb.map(Math.round).join(" ")})`;
export const mix = (one, other, share) => one.map((part, i) => part * share + other[i] * (1 - share));

/** The page's own ink and surface, which JupyterLab and static pages set in their ways. */
export function theme(element) {
  const style = getComputedStyle(element);
  const parse = (text) => (text.match(/[\d.]+/g) || [0, 0, 0]).map(Number);
  const surface = parse(style.backgroundColor).slice(0, 3);
  const [r, g, b, alpha = 1] = parse(style.color);
  const ink = mix([r, g, b], surface, alpha);
  const dark = surface[0] + surface[1] + surface[2] < 384;
  return { surface, ink, dark, muted: mix(ink, surface, 0.74), line: mix(ink, surface, 0.24), alarm: dark ? [255, 107, 94] : [200, 30, 20] };
}

export const plural = (count, noun) => `${count.toLocaleString("en")} ${noun}${count === 1 ? "" : "s"}`;

export function bytes(count) {
  if (count === null) return "not visible";
  return count < 1000 ? `${count} B` : count < 1e6 ? `${(count / 1000).toPrecision(3)} kB` : `${(count / 1e6).toPrecision(3)} MB`;
}
