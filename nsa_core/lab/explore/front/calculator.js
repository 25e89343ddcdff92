// When do copies pay, and when is the whole refresh too short to matter?
//
// data:  presets    [{name, compute, copy, batched, launch}], microseconds; launch 0: no such option
//        mostSteps  limits {share, bottleneck, significant}   plain {verdict: sentence}
//        source
// state: steps, step_ms, compute, copy, batched, launch

import { h, s, us, three, percent, times, slider, clamp, linear, logarithmic, live } from "./draw.js";

const COSTS = { compute: "to compute a set", copy: "to copy a set", batched: "the same, batched", launch: "one launch for all" };
const TONES = { "leave it": "panel", "keep the copies": "copy", "batch the copies": "batched", "one launch": "fused" };
const SHORTEST = 1, LONGEST = 100;

/** Totals, the copies' share, the three conditions and the verdict. */
export function judged(data, { steps, step_ms, compute, copy, batched, launch }) {
  const totals = { eager: steps * (compute + copy), copy: compute + steps * copy, batched: compute + steps * batched };
  if (launch) totals["one launch"] = launch;
  const others = Object.keys(totals).filter((way) => way !== "eager" && way !== "copy").sort((a, b) => totals[a] - totals[b]);
  const best = others[0], faster = totals.copy / totals[best], share = (steps * copy) / totals.copy, part = totals.copy / (1000 * step_ms);
  const met = { share: share > data.limits.share, bottleneck: part >= data.limits.bottleneck, better: totals[best] * data.limits.significant <= totals.copy };
  const verdict = !met.bottleneck ? "leave it" : !met.better ? "keep the copies" : best === "batched" ? "batch the copies" : "one launch";
  return { totals, share, part, best, faster, met, verdict };
}

/** The sentence under the picture. */
export function sentence(data, state) {
  const { totals, part, verdict } = judged(data, state), n = state.steps;
  return `With ${n} draft step${n > 1 ? "s" : ""} a refresh by copies takes ${us(totals.copy)} by the model. ` +
    `That is ${(100 * part).toFixed(1)}% of a round of ${three(state.step_ms)}\u00a0ms. ${data.plain[verdict]}`;
}

export default {
  render: (host) => live(host, "calculator", (root, data, set) => {
    const preset = h("select", { "aria-label": "costs of", onchange: () => { const { name, ...costs } = data.presets[preset.value]; set(costs); } },
      data.presets.map(({ name }, at) => h("option", { value: at }, name)), h("option", { value: "own", hidden: true }, "your own numbers"));
    const log = (v) => Math.round(100 * SHORTEST * (LONGEST / SHORTEST) ** (v / 200)) / 100;
    const controls = {
      steps: slider({ label: "draft steps N", min: 1, max: data.mostSteps, says: String, on: (n) => set({ steps: n }) }),
      step_ms: slider({ label: "round", min: 0, max: 200, unit: "ms", on: (v) => set({ step_ms: log(v) }) }),
    };
    for (const [name, label] of Object.entries(COSTS)) {
      const most = Math.max(...data.presets.map((p) => p[name])) * 1.5;
      controls[name] = slider({ label, min: name === "launch" ? 0 : 0.5, max: Math.ceil(most / 10) * 10, step: 0.01,
        says: (v) => (name === "launch" && !v ? "none" : us(v)), on: (v) => set({ [name]: v }) });
    }
    const svg = s("svg", { role: "img", style: "touch-action: pan-y; cursor: crosshair" }), conditions = h("ul", { class: "pic-conditions" }), says = h("p", { class: "pic-says", "aria-live": "polite" });
    let back = null;
    const follow = (event) => { if (event.type === "pointerdown" || event.buttons) set(back(event)); };
    svg.addEventListener("pointerdown", follow);
    svg.addEventListener("pointermove", follow);
    root.append(
      h("h3", {}, "Is a better refresh worth it for you?"),
      h("p", { class: "pic-lead" }, "The map says what to do for every number of draft steps and every length of a round. The ring is you: click your place."),
      h("div", { class: "pic-controls" }, controls.steps.element, controls.step_ms.element, h("label", { class: "pic-select" }, "costs of", preset)),
      h("details", { class: "pic-costs" }, h("summary", {}, "your own costs"), h("div", { class: "pic-controls" }, Object.keys(COSTS).map((name) => controls[name].element))),
      h("div", { class: "pic-side" }, svg, conditions), says, h("figcaption", {}, data.source));
    return (state, full) => {
      for (const [name, control] of Object.entries(controls)) if (name !== "step_ms") control.move(state[name]);
      controls.step_ms.move(Math.round(200 * Math.log(state.step_ms / SHORTEST) / Math.log(LONGEST / SHORTEST)));
      controls.step_ms.value.textContent = `${three(state.step_ms)}\u00a0ms`;
      const same = data.presets.findIndex((p) => Object.keys(COSTS).every((name) => p[name] === state[name]));
      preset.value = same < 0 ? "own" : same;
      const inner = full - 2 * parseFloat(getComputedStyle(root).paddingLeft), width = full < 700 ? inner : inner - 300;
      back = map(svg, data, state, width);
      const found = judged(data, state);
      svg.setAttribute("aria-label", `map of verdicts; here: ${found.verdict}`);
      conditions.replaceChildren(
        condition(found.met.share, `1. Copies above ${percent(data.limits.share)} of a refresh`, `${percent(found.share)} of ${us(found.totals.copy)}`),
        condition(found.met.bottleneck, `2. A refresh of at least ${percent(data.limits.bottleneck)} of a round`, `${(100 * found.part).toFixed(1)}% of ${three(state.step_ms)}\u00a0ms`),
        condition(found.met.better, `3. Something ${data.limits.significant} times as fast`, `${found.best}, ${times(found.faster)} by the model`));
      says.textContent = sentence(data, state);
    };
  }),
};

const condition = (met, name, value) => h("li", {}, h("b", { "aria-hidden": "true" }, met ? "\u25b2" : "\u25bd"), h("span", {}, name, h("small", {}, `${met ? "met" : "not met"}: ${value}`)));

/** The map of verdicts, and the way back from a click to a state. */
function map(svg, data, state, width) {
  const height = 300, left = 54, bottom = 256, columns = data.mostSteps, rows = 48;
  const x = linear(0.5, columns + 0.5, left, width), y = logarithmic(SHORTEST, LONGEST, bottom, 8), cell = (x(2) - x(1));
  const step = (bottom - 8) / rows, at = (row) => SHORTEST * (LONGEST / SHORTEST) ** ((row + 0.5) / rows);
  const places = {}, drawn = [];
  for (let n = 1; n <= columns; n++) {
    for (let row = 0, begin = 0, last = null; row <= rows; row++) {
      const verdict = row < rows ? judged(data, { ...state, steps: n, step_ms: at(row) }).verdict : null;
      if (last !== null && verdict !== last) {
        const tone = TONES[last] === "panel" ? "var(--nsa-panel)" : `color-mix(in srgb, var(--nsa-${TONES[last]}) 45%, var(--nsa-paper))`;
        drawn.push(s("rect", { x: x(n) - cell / 2, y: bottom - row * step, width: cell + 0.5, height: (row - begin) * step + 0.5, fill: tone, "shape-rendering": "crispEdges" }));
        (places[last] ??= []).push({ n, low: begin, high: row });
        begin = row;
      }
      last = verdict;
    }
  }
  for (const [verdict, spans] of Object.entries(places)) {
    const size = spans.reduce((sum, p) => sum + p.high - p.low, 0), tallest = spans.reduce((a, b) => (b.high - b.low > a.high - a.low ? b : a));
    const middle = spans.reduce((sum, p) => sum + p.n * (p.high - p.low), 0) / size, span = spans.reduce((a, b) => (Math.abs(b.n - middle) < Math.abs(a.n - middle) ? b : a), tallest);
    const half = verdict.length * 3.9;
    if (size > 12) drawn.push(s("text", { x: clamp(x(middle), left + half, width - half), y: bottom - (step * (span.low + span.high)) / 2 + 4, "text-anchor": "middle", class: "strong" }, verdict));
  }
  for (const ms of [1, 2, 5, 10, 20, 50, 100]) drawn.push(s("text", { x: left - 8, y: y(ms) + 4, "text-anchor": "end", class: "small muted" }, ms));
  for (let n = 1; n <= columns; n += width < 460 ? 3 : 1) drawn.push(s("text", { x: x(n), y: bottom + 18, "text-anchor": "middle", class: "small muted" }, n));
  drawn.push(s("text", { x: (left + width) / 2, y: bottom + 36, "text-anchor": "middle", class: "small muted" }, "draft steps N"));
  drawn.push(s("text", { transform: `translate(12 ${bottom / 2}) rotate(-90)`, "text-anchor": "middle", class: "small muted" }, "round, ms, log scale"));
  drawn.push(s("circle", { cx: x(state.steps), cy: y(clamp(state.step_ms, SHORTEST, LONGEST)), r: 9, fill: "none", style: "stroke: var(--nsa-ink)", "stroke-width": 2.5 }));
  for (const [name, size] of Object.entries({ width, height })) svg.setAttribute(name, size);
  svg.replaceChildren(...drawn);
  return (event) => {
    const box = svg.getBoundingClientRect(), high = (bottom - (event.clientY - box.top)) / (bottom - 8);
    const n = clamp(Math.round((event.clientX - box.left - left) / cell + 0.5), 1, columns);
    return { steps: n, step_ms: Math.round(100 * SHORTEST * (LONGEST / SHORTEST) ** clamp(high, 0, 1)) / 100 };
  };
}
