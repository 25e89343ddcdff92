// What a refresh costs in the engine's designs, and by one recorded launch on the same sets.
//
// data:  designs   [{version, when, design}], the oldest first
//        gpus      {gpu: name}            steps   numbers of draft steps
//        times     {gpu: {steps: [{theirs, low, high, ours, operations}]}}, microseconds, in the order of designs
//        source
// state: steps, gpu

import { h, s, us, three, choice, logarithmic, live, notes } from "./draw.js";

export const timesOf = (data, { gpu, steps }) => data.times[gpu][steps];

/** The sentence under the picture. */
export function sentence(data, state) {
  const found = timesOf(data, state), last = found.length - 1;
  return `${state.steps} sets on an ${data.gpus[state.gpu]}: one refresh took ${three(found[0].theirs)} \u00b5s in ` +
    `${data.designs[0].version} and takes ${three(found[last].theirs)} \u00b5s in ${data.designs[last].version}. ` +
    `One recorded launch takes ${three(found[last].ours)} \u00b5s on the same sets.`;
}

export default {
  render: (host) => live(host, "releases", (root, data, set) => {
    const steps = choice("sets", data.steps.map((n) => [n, `${n} sets`]), (n) => set({ steps: n }));
    const gpu = choice("GPU", Object.entries(data.gpus), (name) => set({ gpu: name }));
    const svg = s("svg", { role: "img" }), says = h("p", { class: "pic-says", "aria-live": "polite" });
    root.append(
      h("h3", {}, "What does a refresh cost in the engine's own releases?"),
      h("p", { class: "pic-lead" },
        h("span", { style: "color: var(--nsa-copy)" }, "\u25cf"), " the release's own refresh   ",
        h("span", { style: "color: var(--nsa-graph)" }, "\u25cf"), " one recorded launch (graph), on the same sets"),
      h("div", { class: "pic-controls" }, steps.element, gpu.element), svg, says, h("figcaption", {}, data.source));
    const note = notes(root);
    return (state, full) => {
      steps.move(state.steps);
      gpu.move(state.gpu);
      draw(svg, data, state, full - 2 * parseFloat(getComputedStyle(root).paddingLeft), note);
      says.textContent = sentence(data, state);
      svg.setAttribute("aria-label", says.textContent);
    };
  }),
};

function draw(svg, data, state, width, note) {
  const narrow = width < 520, high = narrow ? 78 : 62, bottom = high * data.designs.length, x = logarithmic(4, 4000, narrow ? 30 : 0, width - 60), drawn = [];
  for (const tick of [10, 100, 1000]) {
    drawn.push(s("line", { x1: x(tick), x2: x(tick), y1: 0, y2: bottom, class: "axis" }),
      s("text", { x: x(tick), y: bottom + 18, "text-anchor": "middle", class: "small muted" }, tick.toLocaleString("en-US")));
  }
  timesOf(data, state).forEach((found, at) => {
    const { version, when, design } = data.designs[at], y = high * at + high - 18;
    const dot = (value, colour, says) => note.on(s("circle", { cx: x(value), cy: y, r: 7, style: `fill: var(--nsa-${colour})`, tabindex: 0, role: "img", "aria-label": says }), says);
    drawn.push(
      s("line", { x1: x(found.ours), x2: x(found.theirs), y1: y, y2: y, style: "stroke: var(--nsa-muted)", "stroke-width": 1 }),
      s("text", { x: 0, y: high * at + 20, class: "halo" }, s("tspan", { class: "strong" }, version), `, ${when}${narrow ? "" : `: ${design}`}`),
      narrow ? s("text", { x: 0, y: high * at + 38, class: "small muted halo" }, design) : [],
      s("text", { x: x(found.theirs) + 13, y: y + 4, class: "small strong halo" }, us(found.theirs)),
      s("text", { x: x(found.ours) - 13, y: y + 4, "text-anchor": "end", class: "small strong halo" }, us(found.ours)),
      dot(found.theirs, "copy", `sglang ${version}: ${us(found.theirs)}, quartiles ${three(found.low)} to ${us(found.high)}; ${found.operations} operations on the GPU`),
      dot(found.ours, "graph", `one recorded launch on the sets of ${version}: ${us(found.ours)}`));
  });
  drawn.push(s("text", { x: width, y: bottom + 34, "text-anchor": "end", class: "small muted" }, "microseconds of a refresh, log scale"));
  svg.setAttribute("viewBox", `0 0 ${width} ${bottom + 42}`);
  svg.setAttribute("width", width);
  svg.setAttribute("height", bottom + 42);
  svg.replaceChildren(...drawn);
}
