// The explorer's session on a page without a kernel: it answers what readers ask for, by the rules of rules.js.
//
// given: setup (see rules.js), at, rosters ([{name, length, accepted}] of each replay) or recorded (batches, their tables as runs),
//        controls (front/README.md), modes and tables and strategies (what each option changes in a setup),
//        pages (by page size: page numbers, the last is handed out first), counts (by key: launches and copies).

import { cells } from "./base.js";
import { Captured, everybody, growth, isRagged } from "./rules.js";

const RECORDED = "These are batches of a recorded trace; the trace fixes this";

export class Session {
  constructor(given) {
    const value = Object.fromEntries(given.controls.map((control) => [control.name, control.value]));
    const { width } = given.setup, rowsOf = (flat) => Array.from({ length: flat.length / width }, (_, r) => flat.subarray(r * width, (r + 1) * width));
    const recorded = given.recorded?.map((batch) => ({ ...batch, table: rowsOf(cells(batch.table)) }));
    Object.assign(this, { given: { ...given, recorded }, made: new Map() });
    this.show({ ...value, rosters: given.rosters ?? [] });
  }

  /** Do what the front end asks for: {at, state}. A refused wish leaves all as it was. */
  ask({ at, ...intent }) {
    let refusal = null;
    try {
      this.obey(at, intent);
      at = "set" in intent ? at : "reset" in intent ? 0 : this.frames.length - 1;
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      refusal = { control: intent.set ?? intent.edit ?? intent.finish ?? "admit", text: error.message };
    }
    return { at: Math.min(at, this.frames.length - 1), state: this.state(refusal) };
  }

  obey(at, { set, value, edit, finish, admit, length, accepted, reset }) {
    if (set) return this.show({ ...this.view, [set]: value });
    if (reset) return this.show({ ...this.view, rosters: this.given.rosters });
    if (this.given.recorded) throw new Refused(RECORDED);
    const roster = this.view.rosters[at];
    if (edit) this.append(at, roster.map((r) => (r.name === edit ? edited(r, { length, accepted }) : r)));
    else if (finish) this.append(at, roster.filter((r) => r.name !== finish));
    else this.append(at, [...roster, { name: this.newName(at), length: admit, accepted: 1 }]);
  }

  newName(at) {
    const used = new Set(this.view.rosters.slice(0, at + 1).flat().map((r) => r.name));
    let code = "A".charCodeAt(0);
    while (used.has(String.fromCharCode(code))) code++;
    return String.fromCharCode(code);
  }

  append(at, roster) { this.show({ ...this.view, rosters: [...this.view.rosters.slice(0, at + 1), roster] }); }

  show(view) {
    const [kind, value] = view.compare.split(":"), name = { strategy: "strategy", tables: "tables", step: "draft_step" }[kind];
    if (name && view[name] === value) view = { ...view, compare: "" };
    const frames = this.framesOf(view), beside = view.compare && name ? this.framesOf({ ...view, [name]: value }) : [];
    this.others = view.compare === "before" ? [frames[0], ...frames.slice(0, -1)] : beside;
    Object.assign(this, { view, frames });
  }

  setupOf(view) {
    const { setup, modes, tables, strategies } = this.given;
    return { ...setup, ...modes[view.mode], ...strategies[view.strategy], strategy: view.strategy, tables: tables[view.tables], page_size: Number(view.page_size) };
  }

  framesOf(view) {
    const setup = this.setupOf(view), key = JSON.stringify([setup, view.draft_step, view.rosters]);
    if (!this.made.has(key)) {
      const batches = this.given.recorded ?? batchesOf(view.rosters, setup, this.given.pages[view.page_size]);
      batches.forEach((batch) => check(setup, batch));
      const captured = new Captured(setup), people = everybody(batches), counts = this.countsOf(view);
      const note = (i) => (this.given.recorded ? `${batches[i].lengths.length} requests of a recorded trace.` : told(view.rosters[i - 1] ?? [], view.rosters[i]));
      const frames = batches.map((batch, i) => (captured.replay(batch), { ...captured.scene(people, note(i), counts), draft_step: Number(view.draft_step) }));
      this.made.set(key, frames);
    }
    return this.made.get(key);
  }

  countsOf(view) {
    const found = this.given.counts[[view.strategy, view.mode, view.tables, view.page_size === "1"].join(" ")];
    return found ? { launches: found[0], copies: found[1] } : {};
  }

  state(refusal = null) {
    const { given, view, frames, others } = this;
    const edit = { why: given.recorded ? RECORDED : null, long: Boolean(given.recorded), most: given.setup.bs, changed: view.rosters !== (given.rosters ?? view.rosters) };
    return { frames, others, compared: this.compared(), controls: this.controls(), edit, refusal };
  }

  compared() {
    const { view } = this, [kind, value] = view.compare.split(":");
    const pair = (name, title) => [view[name], value].map(title);
    if (kind === "before") return ["This replay", "The replay before"];
    if (kind === "step") return pair("draft_step", (step) => `Draft step ${step}`);
    if (kind === "strategy") return pair("strategy", (name) => `${name}: ${this.given.strategies[name].contract}`);
    return kind === "tables" ? pair("tables", (name) => `Captured: ${name === "both" ? name : `${name} only`}`) : null;
  }

  controls() {
    const named = Object.fromEntries(this.given.controls.map((control) => [control.name, control]));
    const beside = (kind, group, name, label = (option) => option.label) =>
      named[name].options.filter((option) => option.value !== this.view[name]).map((option) => ({ ...option, value: `${kind}:${option.value}`, label: label(option), group }));
    const options = [
      ...named.compare.options.slice(0, 2), // nothing, and the replay before
      ...beside("strategy", "another strategy", "strategy"),
      ...beside("tables", "other tables", "tables"),
      ...beside("step", "another draft step", "draft_step", ({ value }) => `draft step ${value}`),
    ];
    return this.given.controls.map((control) => ({ ...control, value: this.view[control.name], options: control.name === "compare" ? options : control.options }));
  }
}

/** What the package would refuse, in its words. */
class Refused extends Error {}

function edited(request, changes) {
  for (const [what, number] of Object.entries(changes))
    if (number !== undefined && !Number.isInteger(number)) throw new Refused(`the ${what} of request ${request.name} must be a whole number`);
  return { ...request, length: changes.length ?? request.length, accepted: changes.accepted ?? request.accepted };
}

function check(setup, { lengths, accepts }) {
  const more = growth(setup), low = Math.min(...lengths), high = Math.max(...lengths), most = setup.draft_tokens;
  if (low < 0) throw new Refused(`seq_lens[${lengths.indexOf(low)}] is ${low}; a length is at least 0: give the number of cached tokens`);
  if (high + more > setup.width)
    throw new Refused(`seq_lens[${lengths.indexOf(high)}] is ${high} and needs ${high}${more ? ` + ${more}` : ""} columns, but the narrowest table has ${setup.width}; finish or shorten the request, or widen req_to_token and capture again`);
  if (!isRagged(setup)) return;
  const padded = lengths.length < setup.bs ? [...accepts, 1] : accepts;
  for (const at of [padded.indexOf(Math.min(...padded)), padded.indexOf(Math.max(...padded))])
    if (padded[at] < 0 || padded[at] > most) throw new Refused(`accept_length[${at}] is ${padded[at]}; it must lie in 0..${most} (num_draft_tokens)`);
  const at = accepts.findIndex((accepted, i) => accepted > lengths[i]);
  if (at >= 0) throw new Refused(`accept_length[${at}] is ${accepts[at]}, above seq_lens[${at}] = ${lengths[at]}; the accepted tokens are part of the sequence, so seq_lens must already count them`);
}

/** What an engine hands over for these rosters: pool rows and pages are reused as requests come and go. */
export function batchesOf(rosters, setup, pages) {
  const free = [...pages], { bs, page_size, width } = setup;
  const table = Array.from({ length: bs + 1 }, () => new Int32Array(width)), held = Array.from({ length: bs + 1 }, () => []), rows = new Map();
  return rosters.map((roster) => {
    if (roster.length > bs) throw new Refused(`lengths has ${roster.length} requests, but ${bs} were captured; drop some`);
    const names = roster.map(({ name }) => name);
    for (const gone of [...rows.keys()].filter((name) => !names.includes(name)).sort()) {
      free.push(...held[rows.get(gone)].splice(0));
      rows.delete(gone);
    }
    for (const { name, length } of roster) {
      if (!rows.has(name)) rows.set(name, [...table.keys()].find((row) => row && ![...rows.values()].includes(row)));
      const row = rows.get(name), needed = Math.ceil(Math.min(Math.max(length + growth(setup), 0), width) / page_size) - held[row].length;
      if (needed <= 0) continue;
      const fresh = free.splice(free.length - needed), first = held[row].length;
      held[row].push(...fresh);
      fresh.forEach((page, i) => {
        for (let k = 0, t = (first + i) * page_size; k < page_size && t + k < width; k++) table[row][t + k] = page * page_size + k;
      });
    }
    return { lengths: roster.map((r) => r.length), accepts: roster.map((r) => r.accepted), rows: names.map((name) => rows.get(name)), people: names, table: table.map((row) => row.slice()) };
  });
}

/** In a sentence or two, what happened between two batches. */
export function told(before, now) {
  const names = (roster) => roster.map(({ name }) => name), old = names(before), fresh = names(now), length = (roster, name) => roster.find((r) => r.name === name).length;
  const left = old.filter((name) => !fresh.includes(name)), came = fresh.filter((name) => !old.includes(name)), both = fresh.filter((name) => old.includes(name));
  const moved = both.filter((name) => fresh.indexOf(name) < old.indexOf(name));
  const changed = (sign) => both.filter((name) => Math.sign(length(now, name) - length(before, name)) === sign);
  const said = [];
  if (left.length) said.push(`${and(left)} finished${moved.length ? `, so ${and(moved)} moved up` : ""}`);
  if (came.length) said.push(`${and(came)} came`);
  if (!said.length) for (const [sign, verb] of [[1, "grew"], [-1, "shrank"]]) if (changed(sign).length) said.push(`${and(changed(sign))} ${verb}`);
  return said.length ? `${said.join(". ")}.` : "The same batch again.";
}

const and = (words) => (words.length === 1 ? words[0] : `${words.slice(0, -1).join(", ")} and ${words.at(-1)}`);
