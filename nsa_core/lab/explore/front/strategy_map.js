// Which strategy is cheapest where?
//
// data:  ways       from the one that asks least of an engine to the one that asks most
//        tokens     rows of the map, tokens in the batch      mostSteps   its columns
//        wins       times faster that count                   source
//        model      {compute, copy, launch, start, gap} microseconds, perUs bytes a microsecond
//        bytes      {steps: {way: bytes a token}}
// state: steps, tokens, without [way]

import { h, s, us, three, slider, clamp, live } from "./draw.js";

/** Microseconds of a refresh by each strategy. */
export function timesOf(data, steps, tokens) {
  const m = data.model, moved = data.bytes[steps], found = {};
  for (const way of data.ways) {
    const long = (moved[way] * tokens) / m.perUs;
    found[way] = way === "copy" ? Math.max(m.compute + steps * m.copy, long) : Math.max(m.launch, m.start + long + m.gap);
  }
  return found;
}

/** The cheapest strategy; among those that tie the one that asks least. */
export function winner(data, steps, tokens, without) {
  const found = timesOf(data, steps, tokens), ways = data.ways.filter((way) => !without.includes(way));
  const least = Math.min(...ways.map((way) => found[way]));
  return ways.find((way) => found[way] < data.wins * least);
}

/** The sentence under the picture. */
export function sentence(data, { steps, tokens, without }) {
  const found = timesOf(data, steps, tokens), best = winner(data, steps, tokens, without);
  const listed = data.ways.filter((way) => !without.includes(way)).map((way) => `${way} ${us(found[way])}`).join(", ");
  const others = best === "copy" ? "" : `; copy takes ${three(found.copy / found[best])} times as long`;
  return `${steps} draft step${steps > 1 ? "s" : ""}, ${tokens.toLocaleString("en-US")} tokens in the batch, by the model: ${listed}. Use ${best}${others}.`;
}

const short = (tokens) => (tokens >= 2 ** 20 ? `${tokens / 2 ** 20} M` : `${tokens / 2 ** 10} k`);

export default {
  render: (host) => live(host, "strategy_map", (root, data, set) => {
    let now = null, back = null;
    const steps = slider({ label: "draft steps N", min: 1, max: data.mostSteps, says: String, on: (n) => set({ steps: n }) });
    const tokens = slider({ label: "tokens in the batch", min: 0, max: data.tokens.length - 1, says: (at) => short(data.tokens[at]), on: (at) => set({ tokens: data.tokens[at] }) });
    const toggles = data.ways.slice(1).map((way) => {
      const input = h("input", { type: "checkbox", onchange: () => set({ without: input.checked ? now.without.filter((w) => w !== way) : [...now.without, way] }) });
      return { way, input, element: h("label", { class: "pic-check" }, input, way) };
    });
    const svg = s("svg", { role: "img", style: "touch-action: pan-y; cursor: crosshair" }), says = h("p", { class: "pic-says", "aria-live": "polite" });
    const follow = (event) => { if (event.type === "pointerdown" || event.buttons) set(back(event)); };
    svg.addEventListener("pointerdown", follow);
    svg.addEventListener("pointermove", follow);
    root.append(
      h("h3", {}, "Which strategy is cheapest where?"),
      h("p", { class: "pic-lead" }, `Where two strategies are within ${data.wins} times of each other, the map names the simpler one: graph before shared+graph. In a small batch a launch takes longest. In a large one the bytes do, and shared+graph writes the fewest.`),
      h("div", { class: "pic-controls" }, steps.element, tokens.element, h("div", { class: "pic-checks", role: "group", "aria-label": "strategies to choose from" }, toggles.map((t) => t.element))), svg, says, h("figcaption", {}, data.source));
    return (state, full) => {
      now = state;
      steps.move(state.steps);
      tokens.move(data.tokens.indexOf(state.tokens));
      toggles.forEach(({ way, input }) => { input.checked = !state.without.includes(way); });
      back = map(svg, data, state, full - 2 * parseFloat(getComputedStyle(root).paddingLeft));
      says.textContent = sentence(data, state);
      svg.setAttribute("aria-label", `map of the cheapest strategy; here: ${says.textContent}`);
    };
  }),
};

function map(svg, data, state, width) {
  const left = 62, bottom = 270, rows = data.tokens.length, columns = data.mostSteps, high = (bottom - 6) / rows, wide = (width - left) / columns;
  const x = (n) => left + (n - 0.5) * wide, y = (at) => bottom - (at + 0.5) * high, drawn = [], places = {};
  data.tokens.forEach((tokens, at) => {
    for (let n = 1; n <= columns; n++) {
      const way = winner(data, n, tokens, state.without);
      (places[way] ??= []).push([n, at]);
      drawn.push(s("rect", { x: x(n) - wide / 2, y: y(at) - high / 2, width: wide + 0.5, height: high + 0.5, fill: `color-mix(in srgb, var(--nsa-${way.replace("+", "-")}) 45%, var(--nsa-paper))`, "shape-rendering": "crispEdges" }));
    }
    if (at % 5 === 0) drawn.push(s("text", { x: left - 8, y: y(at) + 4, "text-anchor": "end", class: "small muted" }, short(tokens)));
  });
  for (const [way, cells] of Object.entries(places)) {
    const mean = (i) => cells.reduce((sum, cell) => sum + cell[i], 0) / cells.length, half = way.length * 4;
    drawn.push(s("text", { x: clamp(x(mean(0)), left + half, width - half), y: y(mean(1)) + 4, "text-anchor": "middle", class: "strong" }, way));
  }
  for (let n = 1; n <= columns; n += width < 460 ? 3 : 1) drawn.push(s("text", { x: x(n), y: bottom + 18, "text-anchor": "middle", class: "small muted" }, n));
  drawn.push(s("text", { x: (left + width) / 2, y: bottom + 36, "text-anchor": "middle", class: "small muted" }, "draft steps N"));
  drawn.push(s("text", { transform: `translate(12 ${bottom / 2}) rotate(-90)`, "text-anchor": "middle", class: "small muted" }, "tokens in the batch"));
  const here = data.tokens.indexOf(state.tokens);
  drawn.push(s("rect", { x: x(state.steps) - wide / 2, y: y(here) - high / 2, width: wide - 1, height: high - 1, fill: "none", style: "stroke: var(--nsa-ink)", "stroke-width": 2.5 }));
  svg.setAttribute("width", width);
  svg.setAttribute("height", bottom + 44);
  svg.replaceChildren(...drawn);
  return (event) => {
    const box = svg.getBoundingClientRect();
    const at = clamp(Math.floor((bottom - (event.clientY - box.top)) / high), 0, rows - 1);
    return { steps: clamp(Math.ceil((event.clientX - box.left - left) / wide), 1, columns), tokens: data.tokens[at] };
  };
}
