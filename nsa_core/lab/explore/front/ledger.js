// The claims of the December 2025 note, each with its verdict.
//
// data:  rows    [{id, claim, kind, verdict, sign, label, measured, test, remark, changes, deciding}], the deciding ones first
//        source
// state: find, verdict ("" for any)
//        all    whether those that do not decide are unfolded; whoever filters sees all that match

import { h, button, count, live } from "./draw.js";

/** The rows that a state shows. */
export function shown(data, { find, verdict }) {
  const word = find.trim().toLowerCase();
  return data.rows.filter((row) => (!verdict || row.verdict === verdict) && [row.id, row.claim, row.kind, row.measured, row.test, row.remark, row.changes].join(" ").toLowerCase().includes(word));
}

export default {
  render: (host) => live(host, "ledger", (root, data, set) => {
    const find = h("input", { type: "search", placeholder: "filter: copies, launch, P1\u2026", "aria-label": "filter claims", oninput: () => set({ find: find.value }) });
    const chips = ["", ...new Set(data.rows.map((row) => row.verdict))].map((verdict) => {
      const rows = data.rows.filter((row) => !verdict || row.verdict === verdict), sign = verdict ? `${rows[0].sign} ${verdict}` : "all";
      return button(`${sign} ${rows.length}`, () => set({ verdict }), { "data-verdict": verdict });
    });
    const more = button(`Show the other ${data.rows.filter((row) => !row.deciding).length}`, () => set({ all: true }));
    const list = h("div"), says = h("p", { class: "pic-lead", role: "status" });
    root.append(h("h3", {}, "What the December 2025 note claims, and what was measured"),
      h("div", { class: "pic-controls pic-filter" }, find, h("div", { class: "pic-chips", role: "group", "aria-label": "verdict" }, chips)), says,
      list, h("figcaption", {}, data.source));
    return (state) => {
      if (find.value !== state.find) find.value = state.find;
      chips.forEach((chip) => chip.setAttribute("aria-pressed", chip.dataset.verdict === state.verdict));
      const rows = shown(data, state), folded = !(state.all || state.find.trim() || state.verdict);
      const others = rows.filter((row) => !row.deciding);
      says.textContent = rows.length === data.rows.length ? `${count(rows.length, "claim")}; the first six carry the decision.` : `${rows.length} of ${count(data.rows.length, "claim")}.`;
      list.replaceChildren(...rows.filter((row) => row.deciding).map(block), ...(folded ? [more] : others.map(block)));
    };
  }),
};

const block = ({ id, claim, verdict, sign, label, measured, test, remark, changes, deciding }) => h("section", { class: deciding ? "pic-claim pic-deciding" : "pic-claim" },
  h("p", { class: "pic-verdict" }, h("b", { "aria-hidden": "true" }, sign), ` ${verdict}`),
  h("div", {}, h("p", { class: "pic-claimed" }, "The note: ", claim), h("p", {}, h("b", {}, `${label}: `), measured, "."),
    h("details", {}, h("summary", {}, "How, and what would change the verdict"), h("p", {}, `What was measured: ${test}.`), remark && h("p", {}, remark), h("p", {}, `Would change the verdict: ${changes}.`), h("p", { class: "pic-id" }, `claim ${id}`))));
