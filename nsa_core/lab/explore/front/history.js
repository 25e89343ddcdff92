// From December 2025 to today: what was tried, kept, reverted and tried again.
//
// data:  events  [{date "2025-12-04", who, title, text, source, url}], oldest first; url may be ""
//        source
// state: event   index of the one whose text is shown

import { h, s, live, linear, rove } from "./draw.js";

const day = (text) => new Date(`${text}T00:00:00Z`);
const spelled = (text, options = { day: "numeric", month: "short", year: "numeric" }) => day(text).toLocaleDateString("en-GB", { timeZone: "UTC", ...options });
const ABOVE = "SGLang", LANE = 46;

export default {
  render: (host) => live(host, "history", (root, data, set) => {
    const explain = h("div", { class: "pic-explain", "aria-live": "polite" }), lines = s("svg", { "aria-hidden": "true" });
    let chosen = 0;
    const buttons = data.events.map((event, at) => h("button", {
      type: "button", class: "pic-event", onclick: () => set({ event: at }), onfocus: () => set({ event: at }),
      onpointerenter: () => tell(at), onpointerleave: () => tell(chosen),
    }, event.title, h("small", {}, spelled(event.date), h("i", {}, ` \u00b7 ${event.who}`))));
    rove(buttons);
    const years = h("div", { class: "pic-years", role: "group", "aria-label": "events, oldest first" }, lines, buttons);
    root.append(h("h3", {}, "From December 2025 to today"), h("p", { class: "pic-lead" }, "Above the line: SGLang. Below: the December 2025 note and this project."), years, explain, h("figcaption", {}, data.source));
    const tell = (at) => {
      const { date, who, title, text, source, url } = data.events[at];
      explain.replaceChildren(
        h("h3", {}, title), h("p", {}, text),
        h("p", {}, `${who}, ${spelled(date, { day: "numeric", month: "long", year: "numeric" })}. Source: `, url ? h("a", { href: url, target: "_blank", rel: "noopener" }, source) : source));
    };
    return ({ event }, width) => {
      chosen = event;
      root.classList.toggle("pic-narrow", width < 700);
      buttons.forEach((button, at) => button.setAttribute("aria-pressed", at === event));
      if (width >= 700) place(data.events, buttons, lines, years, event);
      else lines.replaceChildren();
      tell(event);
    };
  }),
};

/** Dots on a line that is true to time; each label in the nearest lane where it covers no other. */
function place(events, buttons, lines, years, chosen) {
  const width = years.clientWidth, first = day(events[0].date), last = day(events.at(-1).date), x = linear(+first, +last, 6, width - 6);
  const lanes = { true: [], false: [] };
  const dots = events.map((event) => x(+day(event.date)));
  for (let at = dots.length - 2; at >= 0; at--) dots[at] = Math.min(dots[at], dots[at + 1] - 11); // days apart, still told apart
  const spots = events.map((event, at) => ({ above: event.who === ABOVE, wide: buttons[at].offsetWidth, dot: dots[at] }));
  for (const spot of spots.toReversed()) { // the last first: no stem then runs through a label
    spot.left = Math.max(0, Math.min(spot.dot - 5, width - spot.wide));
    const taken = lanes[spot.above], free = taken.findIndex((begin) => spot.left + spot.wide + 14 < begin);
    spot.lane = free < 0 ? taken.length : free;
    taken[spot.lane] = spot.left;
  }
  const top = lanes.true.length * LANE + 14, high = top + lanes.false.length * LANE + 36;
  years.style.height = `${high}px`;
  lines.setAttribute("width", width);
  lines.setAttribute("height", high);
  const months = Array.from({ length: 12 }, (_, i) => new Date(Date.UTC(2026, i, 1))).filter((m) => m < last);
  lines.replaceChildren(
    s("line", { x1: 0, x2: width, y1: top, y2: top, style: "stroke: var(--nsa-muted)", "stroke-width": 1.5 }),
    ...months.map((m) => s("g", {}, s("line", { x1: x(+m), x2: x(+m), y1: top - 4, y2: top + 4, style: "stroke: var(--nsa-muted)" }),
      m.getUTCMonth() % 3 === 0 && s("text", { x: x(+m), y: top + 18, "text-anchor": "middle", class: "small muted" }, m.toLocaleDateString("en-GB", { month: "short", year: "numeric", timeZone: "UTC" })))),
    ...spots.map(({ above, lane, dot }, at) => {
      const y = above ? top - 12 - lane * LANE : top + 28 + lane * LANE;
      return s("g", {}, s("line", { x1: dot, x2: dot, y1: top, y2: y, style: "stroke: var(--nsa-line)" }),
        s("circle", { cx: dot, cy: top, r: at === chosen ? 7 : 5, style: `fill: var(--nsa-${at === chosen ? "focus" : "ink"}); stroke: var(--nsa-paper)`, "stroke-width": 2 }));
    }),
  );
  spots.forEach(({ above, lane, left }, at) => {
    buttons[at].style.left = `${left}px`;
    buttons[at].style.top = `${above ? top - 12 - lane * LANE - 36 : top + 26 + lane * LANE}px`;
  });
}
