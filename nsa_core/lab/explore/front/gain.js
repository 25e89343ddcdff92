// What computing once gains, by number of draft steps.
//
// data:  compute, copy   microseconds a set, fitted to the measurement: where the sliders begin
//        measured        [{steps, eager, copy, gain, share}], microseconds of a refresh; gain: eager over copy, run by
//                        run; share: 0..1 of copy's time
//        claimed         [{steps, before, after}], microseconds, of the December 2025 note
//        mostSteps, source
// state: steps, compute, copy

import { h, s, us, times, percent, slider, button, clamp, linear, live, notes, ticks } from "./draw.js";

/** A refresh's two times and the copies' share: as measured where the costs are the measured ones, else by the model. */
export function totals(data, { steps, compute, copy }) {
  const found = compute === data.compute && copy === data.copy && data.measured.find((m) => m.steps === steps);
  if (found) return { how: "measured", before: found.eager, after: found.copy, gain: found.gain, share: found.share };
  const before = steps * (compute + copy), after = compute + steps * copy;
  return { how: "by the model", before, after, gain: before / after, share: (steps * copy) / after };
}

/** The sentence under the picture, with its numbers between asterisks. */
export function sentence(data, state) {
  const { how, before, after, gain, share } = totals(data, state);
  const whole = (value) => Math.round(value).toLocaleString("en-US");
  return `With *${state.steps}* draft step${state.steps > 1 ? "s" : ""}, ${how}: *${whole(before)}\u00a0\u00b5s* becomes ` +
    `*${whole(after)}\u00a0\u00b5s*, *${gain.toFixed(1)} times* as fast. Copies are *${percent(share)}* of what ` +
    `is left. By the model, the gain stays below *${(1 + state.compute / state.copy).toFixed(1)}*, however many draft steps.`;
}

export default {
  render: (host) => live(host, "gain", (root, data, set) => {
    const steps = slider({ label: "draft steps N", min: 1, max: data.mostSteps, says: String, on: (n) => set({ steps: n }) });
    const compute = slider({ label: "to compute a set", min: 1, max: 600, step: 0.1, unit: "\u00b5s", on: (c) => set({ compute: c }) });
    const copy = slider({ label: "to copy a set", min: 5, max: 300, step: 0.1, unit: "\u00b5s", on: (k) => set({ copy: k }) });
    const reset = button("Fitted costs", () => set({ compute: data.compute, copy: data.copy }));
    const svg = s("svg", { role: "img" }), says = h("p", { class: "pic-says", "aria-live": "polite" });
    root.append(
      h("h3", {}, "What does computing once gain?"),
      h("p", { class: "pic-lead" }, "Upper bar: every set is computed and copied into place. Lower bar: one set is computed, then copied into all N. Move a cost, and the bars show the model instead of the measurement."),
      h("div", { class: "pic-controls" }, steps.element, compute.element, copy.element, reset),
      svg, says, h("figcaption", {}, data.source),
    );
    const note = notes(root);
    return (state, full) => {
      for (const [name, control] of Object.entries({ steps, compute, copy })) control.move(state[name]);
      const { how } = totals(data, state), fitted = how === "measured"; // then the bars are not the sum of these costs
      for (const control of [compute, copy]) {
        control.element.classList.toggle("pic-idle", fitted);
        if (fitted) control.value.textContent = "as fitted";
      }
      reset.disabled = state.compute === data.compute && state.copy === data.copy;
      says.replaceChildren(...sentence(data, state).split("*").map((part, at) => (at % 2 ? h("b", {}, part) : part)));
      const width = svg.parentElement.clientWidth - 2 * parseFloat(getComputedStyle(root).paddingLeft);
      const bars = drawBlocks(data, state, width), curve = drawCurve(data, state, width, note, set);
      curve.setAttribute("transform", "translate(0 168)");
      svg.setAttribute("viewBox", `0 0 ${width} 446`);
      svg.setAttribute("width", width);
      svg.setAttribute("height", 446);
      svg.setAttribute("aria-label", says.textContent);
      svg.replaceChildren(bars, curve);
    };
  }),
};

/**
 * Both rows as parts that add up to the totals: computing once takes what the copies leave of the row below. The row
 * above was timed as a whole; each of its sets is divided in the ratio of one set below.
 */
export function blocks(data, state) {
  const { how, before, after, share } = totals(data, state), { steps } = state, once = (1 - share) * after, copied = (after - once) / steps;
  const each = before / steps, computed = (each * once) / (once + copied);
  return [
    { label: "Compute every set (eager)", how, total: before, colour: "eager", parts: Array(steps).fill([["compute", computed], ["copy", each - computed]]).flat() },
    { label: "Compute once (copy)", how, total: after, colour: "copy", parts: [["compute", once], ...Array(steps).fill(["copy", copied])] },
  ];
}

/** Where the time goes: every block is as wide as it lasts, and both rows share one scale. */
function drawBlocks(data, state, width) {
  const rows = blocks(data, state), x = linear(0, Math.max(...rows.map((row) => row.total)), 0, width);
  return s("g", {}, rows.map(({ label, how, total, colour, parts }, at) => {
    const top = 74 * at;
    let begin = 0;
    const drawn = parts.map(([part, cost]) => {
      const left = x(begin), wide = x(cost);
      begin += cost;
      const fill = part === "compute" ? "var(--nsa-part-compute)" : "var(--nsa-part-copies)";
      const fits = wide > (part === "compute" ? 60 : 32) && part;
      return [
        s("rect", { x: left, y: top + 24, width: Math.max(wide - 1, 0.6), height: 30, fill }),
        fits && s("text", { x: left + wide / 2, y: top + 44, "text-anchor": "middle", class: "small", style: "fill: light-dark(#fff, #14171c)" }, fits),
      ];
    });
    return s("g", {},
      s("text", { x: 0, y: top + 14 }, s("tspan", { style: `fill: var(--nsa-${colour})` }, "\u25cf "), s("tspan", { class: "strong" }, label), s("tspan", { dx: 8 }, `${us(total)}, ${how}`)),
      drawn);
  }));
}

/** The gain over N: the model's curve and limit, the measured points, and what the note claimed. */
function drawCurve(data, state, width, note, set) {
  const { compute, copy, steps } = state, limit = 1 + compute / copy, gain = (n) => (n * (compute + copy)) / (compute + n * copy);
  const claims = data.claimed.map((c) => ({ ...c, gain: c.before / c.after }));
  const most = Math.max(5.3, Math.min(limit, gain(data.mostSteps) * 1.6) * 1.08);
  const left = 34, bottom = 236, x = linear(1, data.mostSteps, left, width - 14), y = linear(1, most, bottom, 12);
  const marks = [];
  for (const tick of most > 12 ? [1, ...ticks(most).slice(1)] : [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11].filter((t) => t <= most)) {
    marks.push(s("line", { x1: left, x2: width, y1: y(tick), y2: y(tick), class: "axis" }),
      s("text", { x: left - 8, y: y(tick) + 4, "text-anchor": "end", class: "muted small" }, `${tick}\u00d7`));
  }
  for (const n of width < 500 ? [1, 4, 8, 12, 16] : Array.from({ length: data.mostSteps }, (_, i) => i + 1)) {
    marks.push(s("text", { x: x(n), y: bottom + 20, "text-anchor": "middle", class: "muted small" }, n));
  }
  marks.push(s("text", { x: width, y: bottom + 36, "text-anchor": "end", class: "muted small" }, "draft steps N"),
    s("text", { x: x(11), y: y(gain(11)) + 22, "text-anchor": "middle", class: "small halo", style: "fill: var(--nsa-copy)" }, width < 500 ? "model" : "line: model, fitted to the dots"));
  marks.push(s("text", { x: 0, y: -8, class: "muted small" }, "times as fast as computing every set"));
  if (limit < most) {
    marks.push(s("line", { x1: left, x2: width, y1: y(limit), y2: y(limit), style: "stroke: var(--nsa-muted)", "stroke-dasharray": "5 4" }),
      s("text", { x: width, y: y(limit) - 6, "text-anchor": "end", class: "small muted halo" }, `limit 1 + compute / copy = ${times(limit)}`));
  }
  const path = Array.from({ length: 4 * (data.mostSteps - 1) + 1 }, (_, i) => 1 + i / 4).map((n) => `${x(n)},${y(gain(n))}`).join("L");
  marks.push(s("path", { d: `M${path}`, fill: "none", style: "stroke: var(--nsa-copy)", "stroke-width": 2 }));
  for (const m of data.measured) {
    const dot = s("circle", { cx: x(m.steps), cy: y(m.gain), r: 5, style: "fill: var(--nsa-copy)", tabindex: 0, role: "img",
      "aria-label": `measured at ${m.steps} draft steps: ${times(m.gain)}` });
    const under = m.gain < gain(m.steps); // on the side of the dot where the curve is not
    if (m.steps !== steps && (m.steps > 1 || width >= 500)) marks.push(s("text", { x: x(m.steps), y: y(m.gain) + (under ? 22 : -11), "text-anchor": m.steps > 1 ? "middle" : "start", class: "small muted halo" }, times(m.gain)));
    marks.push(note.on(dot, `Measured, N = ${m.steps}: ${us(m.eager)} becomes ${us(m.copy)}, ${times(m.gain)}`));
  }
  for (const c of claims) {
    const mark = s("path", { d: "M0,-7L7,0L0,7L-7,0Z", transform: `translate(${x(c.steps)} ${y(c.gain)})`, tabindex: 0, role: "img",
      style: "fill: var(--nsa-paper); stroke: var(--nsa-ink); stroke-width: 1.5", "aria-label": `claimed at ${c.steps} draft steps: ${times(c.gain)}` });
    marks.push(note.on(mark, `The December 2025 note, N = ${c.steps}: ${c.before} \u00b5s becomes ${c.after} \u00b5s. Calculated there, not measured; its "before" leaves the copies out.`),
      s("text", { x: x(c.steps) - 12, y: y(c.gain) + 4, "text-anchor": "end", class: "small muted halo" }, width < 500 ? "the note" : `the note: ${c.before.toLocaleString("en-US")} \u2192 ${c.after} \u00b5s`));
  }
  const value = totals(data, state).gain;
  const last = x(steps) > width - 60, low = y(value) + 24 > bottom; // beside the upright line, below the curve
  marks.push(
    s("line", { x1: x(steps), x2: x(steps), y1: bottom, y2: y(value) + 9, style: "stroke: var(--nsa-ink)", "stroke-width": 1 }),
    s("circle", { cx: x(steps), cy: y(value), r: 9, fill: "none", style: "stroke: var(--nsa-ink)", "stroke-width": 2, "pointer-events": "none" }),
    s("text", { x: x(steps) + (last ? -12 : 12), y: y(value) + (low ? -14 : 22), "text-anchor": last ? "end" : "start", class: "strong halo" }, times(value)));
  const area = s("rect", { x: left, y: 0, width: width - left, height: bottom, fill: "transparent", style: "cursor: ew-resize; touch-action: pan-y" });
  const follow = (event) => {
    if (event.type === "pointermove" && !event.buttons) return;
    const at = event.clientX - area.ownerSVGElement.getBoundingClientRect().left;
    const n = clamp(Math.round(1 + ((at - left) / (width - 14 - left)) * (data.mostSteps - 1)), 1, data.mostSteps);
    if (n !== steps) set({ steps: n });
  };
  area.addEventListener("pointerdown", follow);
  area.addEventListener("pointermove", follow);
  return s("g", {}, area, marks);
}
