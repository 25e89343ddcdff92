// What host and GPU do during one refresh.
//
// data:  replays  {steps: [{name, host, device, operations, segments: [{part, us, operations}]}]}, microseconds
//        source
// state: steps    a key of replays
//        done     a name: the picture begins when its refresh is done
//        at       microseconds since the call: the cursor
//        window   microseconds that are shown

import { h, s, us, count, percent, slider, choice, clamp, linear, live, ticks } from "./draw.js";

/** When each operation reaches the GPU and how long it lasts: evenly within its part. */
export function operations(replay) {
  const each = replay.device / replay.operations, found = [];
  let begin = 0;
  for (const { part, us: host, operations: many } of replay.segments) {
    for (let i = 1; i <= many; i++) found.push({ part, begin: begin + (host * i) / many, us: each });
    begin += host;
  }
  return found;
}

/** When a refresh is done: the GPU's last operation follows the host's last request. */
const end = (replay) => replay.host + replay.device / replay.operations;

const listed = (words) => words.join(", ").replace(/, ([^,]*)$/, " and $1");

/** Who is done at a moment, and how far the others are. */
export function sentence(replays, at) {
  const [done, busy] = [true, false].map((is) => replays.filter((r) => (at >= end(r)) === is));
  const far = (r, i) => `${operations(r).filter((o) => o.begin + o.us <= at).length || "none"} of ${i ? r.operations : count(r.operations, "operation")} for ${r.name}`;
  const finished = done.length ? `${listed(done.map((r) => r.name))} ${done.length > 1 ? "are" : "is"} done` : "nothing is done";
  return `After ${us(at)}, ${finished}.` + (busy.length ? ` The GPU has finished ${listed(busy.map(far))}.` : "");
}

export default {
  render: (host) => live(host, "replay_timeline", (root, data, set) => {
    const longest = (steps) => Math.max(...data.replays[steps].map((r) => r.host)) * 1.02;
    const steps = choice("draft steps", Object.keys(data.replays).map((n) => [n, `${n} draft steps`]), (n) => set({ steps: Number(n), at: end(data.replays[n].find((r) => r.name === now.done)), window: longest(n) }));
    const time = slider({ label: "time since the call", min: 0, max: 1000, unit: "\u00b5s", on: (v) => set({ at: (v / 1000) * longest(now.steps) }) });
    const zoom = slider({ label: "zoom, shown", min: 0, max: 1000, unit: "\u00b5s", on: (v) => set({ window: longest(now.steps) * (20 / longest(now.steps)) ** (v / 1000) }) });
    const svg = s("svg", { role: "img", class: "pic-lane" }), says = h("p", { class: "pic-says", "aria-live": "polite" });
    let now = null, scale = null;
    const follow = (event) => {
      if (event.type === "pointermove" && !event.buttons) return;
      set({ at: clamp(scale.back(event.clientX - svg.getBoundingClientRect().left), 0, longest(now.steps)) });
    };
    svg.addEventListener("pointerdown", follow);
    svg.addEventListener("pointermove", follow);
    root.append(
      h("h3", {}, "Who works during one refresh, and who waits?"),
      h("p", { class: "pic-lead" }, "Bars: the host asks for one operation after another. Strokes below: the GPU does it, and waits for the next. Computing includes checks of the batch. In eager, too, every computed set is copied into place."),
      h("div", { class: "pic-controls" }, steps.element, time.element, zoom.element), svg, says, h("figcaption", {}, data.source));
    return (state) => {
      now = state;
      const replays = data.replays[state.steps], most = longest(state.steps), window = clamp(state.window, 20, most);
      steps.move(state.steps);
      time.move((state.at / most) * 1000);
      time.value.textContent = us(state.at);
      time.input.setAttribute("aria-valuetext", us(state.at));
      zoom.move(1000 * (Math.log(window / most) / Math.log(20 / most)));
      zoom.value.textContent = window < most * 0.995 ? us(window) : "all";
      zoom.input.setAttribute("aria-valuetext", us(window));
      const width = svg.parentElement.clientWidth - 2 * parseFloat(getComputedStyle(root).paddingLeft);
      const from = clamp(state.at - window / 2, 0, most - window);
      scale = linear(from, from + window, 0, width);
      scale.back = linear(0, width, from, from + window);
      svg.setAttribute("width", width);
      svg.setAttribute("height", 92 * replays.length + 26);
      svg.replaceChildren(...lanes(replays, from, window, width, scale, state.at));
      const text = sentence(replays, state.at);
      says.textContent = text;
      svg.setAttribute("aria-label", text);
    };
  }),
};

function lanes(replays, from, window, width, x, at) {
  const drawn = [], foot = 92 * replays.length;
  const part = (begin, long, y, high, fill, least = 0) => {
    const left = clamp(x(begin), 0, width), right = clamp(Math.max(x(begin + long), x(begin) + least), 0, width);
    if (right > left) drawn.push(s("rect", { x: left, y, width: right - left, height: high, fill }));
    return [left, right];
  };
  replays.forEach((replay, row) => {
    const y = 92 * row;
    drawn.push(s("text", { x: 0, y: y + 14 }, s("tspan", { class: "strong" }, replay.name),
      s("tspan", { dx: 8, class: "muted" }, width < 560 ? `host ${us(replay.host)}, GPU ${us(replay.device)}` : `${us(replay.host)} on the host, ${us(replay.device)} on the GPU in ${replay.operations} operation${replay.operations > 1 ? "s" : ""}: it works ${percent(replay.device / replay.host)} of the time`)));
    drawn.push(s("rect", { x: 0, y: y + 48, width, height: 20, style: "fill: var(--nsa-panel)" }));
    let begin = 0;
    for (const segment of replay.segments) {
      const [left, right] = part(begin, segment.us, y + 24, 22, `var(--nsa-part-${segment.part.replace(" ", "-")})`, 1.5);
      if (right - left > 3 && begin > 0) drawn.push(s("line", { x1: left, x2: left, y1: y + 24, y2: y + 46, style: "stroke: var(--nsa-paper)" }));
      const label = { compute: "compute", copies: "copy", "one launch": "launch" }[segment.part];
      if (label && right - left > 8 * label.length) drawn.push(s("text", { x: (left + right) / 2, y: y + 39, "text-anchor": "middle", class: "small", style: "fill: light-dark(#fff, #14171c)" }, label));
      begin += segment.us;
    }
    for (const o of operations(replay)) part(o.begin, o.us, y + 48, 20, `var(--nsa-part-${o.part.replace(" ", "-")})`, 1.5);
    const end = operations(replay).at(-1).begin;
    const waits = x(Math.max(end, replay.host) + 4);
    if (waits < width - 90 && waits > 0) drawn.push(s("text", { x: waits + 4, y: y + 62, class: "small muted" }, "done"));
  });
  for (const tick of ticks(window, width < 500 ? 3 : 6).map((t) => from + t)) {
    if (x(tick) > width - 24) continue;
    drawn.push(s("line", { x1: x(tick), x2: x(tick), y1: foot - 8, y2: foot - 3, style: "stroke: var(--nsa-muted)" }),
      s("text", { x: x(tick), y: foot + 12, "text-anchor": x(tick) < 20 ? "start" : "middle", class: "small muted" }, tick ? us(tick) : "0"));
  }
  replays.forEach((_, row) => drawn.push(s("line", { x1: x(at), x2: x(at), y1: 92 * row + 20, y2: 92 * row + 72, style: "stroke: var(--nsa-ink)", "stroke-width": 2 })));
  return drawn;
}
