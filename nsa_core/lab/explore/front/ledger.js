// The claims of the December 2025 note, each with its verdict.
//
// data:  rows    [{id, claim, kind, verdict, sign, measured, test, remark, changes, deciding}], the deciding ones first
//        source
// state: find, verdict ("" for any), sort (a column of COLUMNS, "" for the order of rows), down
//        all    whether those that do not decide are unfolded; whoever filters or sorts sees all that match

import { h, button, count, live } from "./draw.js";

const COLUMNS = { claim: "the note says", verdict: "verdict", measured: "measured" };

/** The rows that a state shows, in its order. */
export function shown(data, { find, verdict, sort, down }) {
  const word = find.trim().toLowerCase();
  const rows = data.rows.filter((row) => (!verdict || row.verdict === verdict) && [row.id, row.claim, row.kind, row.measured, row.test, row.remark, row.changes].join(" ").toLowerCase().includes(word));
  if (!sort) return rows;
  const key = (row) => (sort === "claim" ? row.id.replace(/\d+/, (n) => n.padStart(3, "0")) : row[sort]);
  return rows.toSorted((a, b) => (down ? -1 : 1) * key(a).localeCompare(key(b)));
}

export default {
  render: (host) => live(host, "ledger", (root, data, set) => {
    const find = h("input", { type: "search", placeholder: "filter: copies, launch, P1\u2026", "aria-label": "filter claims", oninput: () => set({ find: find.value }) });
    const verdicts = [...new Set(data.rows.map((row) => row.verdict))];
    const chips = ["", ...verdicts].map((verdict) => {
      const rows = data.rows.filter((row) => !verdict || row.verdict === verdict), sign = verdict ? `${rows[0].sign} ${verdict}` : "all";
      return button(`${sign} ${rows.length}`, () => set({ verdict }), { "data-verdict": verdict });
    });
    const heads = Object.entries(COLUMNS).map(([name, text]) => {
      const head = h("th", { scope: "col", "data-name": name }, button(text, () => set(name === now.sort ? (now.down ? { sort: "", down: false } : { down: true }) : { sort: name, down: false })));
      return head;
    });
    const more = button(`Show the other ${data.rows.filter((row) => !row.deciding).length}`, () => set({ all: true }));
    const body = h("tbody"), says = h("p", { class: "pic-lead", role: "status" });
    let now = null;
    root.append(h("h3", {}, "What the December 2025 note claims, and what was measured"),
      h("div", { class: "pic-controls pic-filter" }, find, h("div", { class: "pic-chips", role: "group", "aria-label": "verdict" }, chips)), says,
      h("table", {}, h("thead", {}, h("tr", {}, heads)), body), h("figcaption", {}, data.source));
    return (state) => {
      now = state;
      if (find.value !== state.find) find.value = state.find;
      chips.forEach((chip) => chip.setAttribute("aria-pressed", chip.dataset.verdict === state.verdict));
      heads.forEach((head) => head.setAttribute("aria-sort", head.dataset.name !== state.sort ? "none" : state.down ? "descending" : "ascending"));
      const rows = shown(data, state), grouped = !state.sort, folded = !(state.all || state.find.trim() || state.verdict || state.sort);
      says.textContent = rows.length === data.rows.length ? `${count(rows.length, "claim")}.` : `${rows.length} of ${count(data.rows.length, "claim")}.`;
      const group = (text) => h("tr", { class: "pic-group" }, h("th", { colspan: 3, scope: "rowgroup" }, text));
      const deciding = rows.filter((row) => row.deciding), others = rows.filter((row) => !row.deciding);
      body.replaceChildren(...(grouped
        ? [deciding.length ? group("What the decision rests on") : "", ...deciding.map(line), others.length ? group(folded ? more : "The others") : "", ...(folded ? [] : others.map(line))]
        : rows.map(line)));
    };
  }),
};

const line = ({ id, claim, verdict, sign, measured, test, remark, changes, deciding }) => h("tr", { class: deciding ? "pic-deciding" : "" },
  h("td", {}, h("small", {}, id), " ", claim), h("td", {}, h("b", {}, sign), ` ${verdict}`), h("td", {}, measured, h("small", {}, test), remark && h("small", {}, remark), h("small", {}, `Would change it: ${changes}.`)));
