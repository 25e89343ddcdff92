// Strategies that make the same copies, side by side.
//
// data:  plans   {plan: [{name, us, device, operations, faster, low, high}]}, "copy" first; us and device: microseconds
//                of a refresh and of the GPU's work in it; faster: copy's time over this one's, from low to high
//        source
// state: plan    a key of plans

import { h, s, us, count, linear, live, notes, ticks } from "./draw.js";

const ROW = 50;

/** The sentence under the picture, with its numbers between asterisks. */
export function sentence(data, { plan }) {
  const [copy, ...others] = data.plans[plan];
  const listed = others.map((way) => `${way.name} *${way.faster.toFixed(2)}*`).join(", ");
  return `${plan}: copy takes *${us(copy.us)}*. Times as fast as copy (above 1 is faster): ${listed}.`;
}

export default {
  render: (host) => live(host, "forms", (root, data, set) => {
    const plan = h("select", { "aria-label": "what is refreshed", onchange: () => set({ plan: plan.value }) },
      Object.keys(data.plans).map((name) => h("option", { value: name }, name)));
    const svg = s("svg", { role: "img" }), says = h("p", { class: "pic-says", "aria-live": "polite" });
    root.append(
      h("h3", {}, "Six strategies make the same copies"),
      h("p", { class: "pic-lead" }, "Wide bars: one refresh, from the call until the next can begin. ",
        key("copy"), "\u00a0PyTorch's own calls, ", key("batched"), "\u00a0Triton kernels called from Python. ",
        "Thin bars: the GPU's time within that refresh. The dashed line is copy."),
      h("div", { class: "pic-controls" }, h("label", { class: "pic-select" }, "what is refreshed", plan)),
      svg, says, h("figcaption", {}, data.source));
    const note = notes(root);
    return (state) => {
      plan.value = state.plan;
      note.hide();
      const width = svg.parentElement.clientWidth - 2 * parseFloat(getComputedStyle(root).paddingLeft);
      const ways = data.plans[state.plan], foot = ROW * ways.length;
      svg.setAttribute("width", width);
      svg.setAttribute("height", foot + 24);
      svg.replaceChildren(...bars(ways, width, foot, note));
      says.replaceChildren(...sentence(data, state).split("*").map((part, at) => (at % 2 ? h("b", {}, part) : part)));
      svg.setAttribute("aria-label", says.textContent);
    };
  }),
};

const key = (name) => h("span", { style: `color: var(--nsa-${name})` }, "\u25a0");

function bars(ways, width, foot, note) {
  const left = 112, said = width < 560 ? 64 : 190, most = Math.max(...ways.map((way) => way.us));
  const x = linear(0, most, left, width - said), drawn = [];
  for (const tick of ticks(most, width < 560 ? 2 : 5)) {
    drawn.push(s("line", { x1: x(tick), x2: x(tick), y1: 0, y2: foot, class: "axis" }),
      s("text", { x: x(tick), y: foot + 16, "text-anchor": "middle", class: "small muted" }, tick ? us(tick) : "0"));
  }
  drawn.push(s("line", { x1: x(ways[0].us), x2: x(ways[0].us), y1: 0, y2: foot, style: "stroke: var(--nsa-muted)", "stroke-dasharray": "5 4" }));
  ways.forEach((way, at) => {
    const y = ROW * at, told = at && width >= 560 ? `, ${way.faster.toFixed(2)} times as fast` : "";
    const range = at ? `\n${way.faster.toFixed(2)} times as fast as copy, ${way.low.toFixed(2)} to ${way.high.toFixed(2)}` : "";
    const bar = s("rect", { x: left, y: y + 6, width: x(way.us) - left, height: 22, style: `fill: var(--nsa-${way.name})`, tabindex: 0, role: "img", "aria-label": `${way.name}: ${us(way.us)}` });
    note.on(bar, `${way.name}: ${us(way.us)}${range}\nThe GPU works ${us(way.device)} in ${count(way.operations, "operation")}.`);
    drawn.push(s("text", { x: 0, y: y + 22 }, way.name), bar,
      s("rect", { x: left, y: y + 31, width: Math.max(x(way.device) - left, 1), height: 6, style: "fill: var(--nsa-ink)" }),
      s("text", { x: Math.max(x(way.device), left) + 6, y: y + 39, class: "small muted halo" }, `GPU ${us(way.device)}`),
      s("text", { x: x(most) + 10, y: y + 22, class: "small" }, us(way.us) + told));
  });
  return drawn;
}
