// One round of speculative decoding: draft, verify, extend, each a captured graph, and the refresh before each.
//
// data:  steps (N)   guesses of a round        rows (d)   tokens the big model checks at once
//        context     the words that are sure at the beginning
//        rounds      [{guesses: [word], accepted, own, other}]; own: the big model's word after the accepted ones;
//                    other: how many tokens a second request accepts in the same round
//        boxes       {name: {title, text, writes}}; names as in BOXES; writes only where a refresh is
//        source, bars: what stands below; bars only where they are drawn
// state: moment      0 .. moments(data) - 1; one box a moment, round after round

import { h, s, button, count, live, rove } from "./draw.js";

const names = (data) => ["refresh-draft", ...Array.from({ length: data.steps }, (_, i) => `draft-${i + 1}`), "refresh-verify", "verify", "refresh-extend", "extend"];
export const moments = (data) => data.rounds.length * names(data).length;

/** Where a moment is: its round, its box, and what the strip of tokens shows then. */
export function at(data, moment) {
  const boxes = names(data), round = Math.floor(moment / boxes.length), place = moment % boxes.length;
  const sure = [...data.context], after = (r) => [...r.guesses.slice(0, r.accepted), r.own];
  data.rounds.slice(0, round).forEach((r) => sure.push(...after(r)));
  const { guesses, accepted, own } = data.rounds[round], verified = place >= boxes.indexOf("verify");
  const drafted = Math.min(Math.max(place, 0), data.steps);
  let tokens = guesses.slice(0, drafted).map((word) => [word, "guess"]);
  if (verified) tokens = [...guesses.slice(0, accepted).map((word) => [word, "kept"]), [own, "own"], ...guesses.slice(accepted).map((word) => [word, "dropped"])];
  if (boxes[place] === "extend") tokens = after(data.rounds[round]).map((word) => [word, "new"]);
  return { round, box: boxes[place], drafted, verified, tokens: [...sure.map((word) => [word, "sure"]), ...tokens] };
}

/** What has happened in this round so far. */
export function sentence(data, moment) {
  const { round, drafted, verified } = at(data, moment), { accepted } = data.rounds[round], begin = `Round ${round + 1}: `;
  if (!drafted) return `${begin}nothing is guessed yet.`;
  if (!verified) return `${begin}the small model has guessed ${count(drafted, "token")}.`;
  const kept = accepted === 0 ? "none is accepted" : accepted === data.steps ? "all accepted" : `${accepted} accepted`;
  return `${begin}${data.steps} guessed, ${kept}; 1 more from the big model. One pass of it gave ${count(accepted + 1, "token")}.`;
}

export default {
  render: (host) => live(host, "loop", (root, data, set) => {
    const last = moments(data) - 1, per = names(data).length;
    const strip = h("ol", { class: "pic-strip", "aria-label": "tokens" }), says = h("p", { class: "pic-says", "aria-live": "polite" });
    const slide = h("input", { type: "range", min: 0, max: last, "aria-label": "moment", oninput: () => { stop(); go(Number(slide.value)); } });
    const back = button("\u2190", () => { stop(); go(now - 1); }, { "aria-label": "one moment back" });
    const on = button("\u2192", () => { stop(); go(now + 1); }, { "aria-label": "one moment on" });
    const play = button("\u25b6 Play", () => (timer ? stop() : start()));
    let now = 0, timer = null;
    const go = (moment) => set({ moment: Math.min(last, Math.max(0, moment)) });
    const stop = () => { clearInterval(timer); timer = null; play.textContent = "\u25b6 Play"; };
    const start = () => {
      if (now === last) go(0);
      timer = setInterval(() => (now === last ? stop() : go(now + 1)), 1300);
      play.textContent = "\u23f8 Pause";
    };
    root.addEventListener("nsa-end", stop);
    const boxes = {}, explain = h("div", { class: "pic-explain" }), glyphs = {};
    const box = (name, ...inside) => {
      const pick = () => { stop(); go(Math.floor(now / per) * per + names(data).indexOf(name)); };
      boxes[name] = h("button", { type: "button", class: "pic-box", onclick: pick, onpointerenter: () => tell(name), onpointerleave: () => tell(at(data, now).box), onfocus: () => tell(name), onblur: () => tell(at(data, now).box) }, inside);
      return boxes[name];
    };
    const refresh = (name, text) => {
      glyphs[name] = h("span", {});
      const made = box(name, h("b", {}, "refresh"), h("span", {}, text.map((line) => h("i", {}, line))), glyphs[name]);
      made.classList.add("pic-refresh");
      return made;
    };
    const arrow = () => h("span", { class: "pic-arrow", "aria-hidden": "true" }, h("span", {}, "\u2192"));
    const graph = (mode, title, sub, inside, wide = "") => h("div", { class: `pic-graph ${wide}`, style: `--colour: var(--nsa-mode-${mode})` }, h("p", {}, title), h("p", {}, sub), h("div", {}, inside));
    const steps = Array.from({ length: data.steps }, (_, i) => box(`draft-${i + 1}`, `step ${i + 1}`));
    const round = h("div", { class: "pic-round", role: "group", "aria-label": "one round of speculative decoding" },
      refresh("refresh-draft", [`${data.steps} sets`, "1 row per request"]), arrow(), graph("decode", `${data.steps} draft steps`, "small model guesses, token by token", steps, "wide"), arrow(),
      refresh("refresh-verify", ["1 set", `${data.rows} rows per request`]), arrow(), graph("target-verify", "Target verify", "big model checks all guesses at once", box("verify", "check")), arrow(),
      refresh("refresh-extend", ["1 set", "1 row per kept token"]), arrow(), graph("draft-extend", "Draft extend", "small model catches up", box("extend", "catch up")));
    rove(Object.values(boxes));
    const tell = (name) => {
      const { title, text, writes } = data.boxes[name.replace(/-\d+$/, "")];
      const mode = name.startsWith("draft") ? "decode" : name === "verify" ? "target-verify" : name === "extend" ? "draft-extend" : null;
      explain.style.setProperty("--colour", mode ? `var(--nsa-mode-${mode})` : "var(--nsa-ink)");
      explain.replaceChildren(h("h3", {}, title.replace("{i}", name.split("-")[1])), h("p", {}, text), ...(writes ? [h("p", {}, writes)] : []));
    };
    root.append(
      h("h3", {}, "One round of speculative decoding"),
      h("p", { class: "pic-lead" }, "A token is a word or a part of one. A small model guesses a few of them, and the big model checks all of them in one pass. What is accepted is what the big model would have written alone, only sooner."),
      h("div", { class: "pic-play" }, play, back, on, slide), says, strip, round, h("div", { class: "pic-return", "aria-hidden": "true" }, h("span", {}, "next round")), explain,
      h("figcaption", {}, `${data.source} ${data.bars}`),
    );
    return ({ moment }, width) => {
      now = moment;
      const here = at(data, moment), r = data.rounds[here.round];
      root.classList.toggle("pic-narrow", width < 700);
      slide.value = moment;
      slide.setAttribute("aria-valuetext", `${sentence(data, moment)} ${data.boxes[here.box.replace(/-\d+$/, "")].title}`);
      back.disabled = moment === 0;
      on.disabled = moment === last;
      strip.replaceChildren(...here.tokens.map(([word, kind]) => h("li", { class: kind }, word)));
      says.textContent = sentence(data, moment);
      for (const [name, element] of Object.entries(boxes)) element.setAttribute("aria-current", name === here.box ? "step" : "false");
      glyphs["refresh-draft"].replaceChildren(rows(Array(data.steps).fill([[5], [3]])));
      glyphs["refresh-verify"].replaceChildren(rows([[5, 3].map((n) => Array.from({ length: data.rows }, (_, i) => n + i + 1))]));
      glyphs["refresh-extend"].replaceChildren(rows([[Array.from({ length: r.accepted + 1 }, (_, i) => 5 + i + 1), Array.from({ length: r.other }, (_, i) => 3 + i + 1)]]));
      tell(here.box);
    };
  }),
};

/** Sets of tables: a bar for each row, as long as the row; the requests lie apart. */
function rows(sets) {
  const unit = sets.length > 1 ? 2 : 4, high = 3, wide = 9 * unit + 5;
  let tall = 0;
  const drawn = sets.map((requests, set) => {
    let y = 0;
    return requests.map((lengths) => {
      const bars = lengths.map((n, i) => s("rect", { x: set * wide, y: y + i * (high + 2), width: n * unit, height: high, fill: "currentColor" }));
      y += lengths.length * (high + 2) + 4;
      tall = Math.max(tall, y - 6);
      return bars;
    });
  });
  return s("svg", { width: sets.length * wide - 5, height: tall, "aria-hidden": "true" }, drawn);
}
