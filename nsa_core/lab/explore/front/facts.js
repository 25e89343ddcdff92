// Plain sentences about a cell, a step and its cost. All of it follows from the scene.

import { STATES, bytes, plural, unpack } from "./base.js";

const LENGTHS = {
  decode: "the request's length s",
  idle: "the request's length s",
  target_verify: "the request's length and its d tokens to check, s + d",
  draft_extend: "the request's length s",
};
const EXPANDED = {
  decode: "the row's length, s. A row is a request",
  idle: "the row's length, s. A row is a request",
  target_verify: "the row's length: s + 1 up to s + d, one row per token to check",
  draft_extend: "the row's length: s - a + 1 up to s, one row per accepted token",
};
const FIELDS = {
  page_table_1: ["the KV slot of one token", "sparse attention, to find the keys that the indexer picked"],
  real_page_table: ["the page that holds these tokens", "the indexer, to find its keys page by page"],
  cache_seqlens_int32: [(s) => LENGTHS[s.mode], "kernels that work request by request"],
  cu_seqlens_k: ["the running sum of cache_seqlens_int32", "kernels that read all requests as one long list"],
  nsa_seqlens_expanded: [(s) => EXPANDED[s.mode], "every reader of this row: it stops there"],
  nsa_cache_seqlens_int32: [(s) => `how many tokens the row attends to: its length, at most top-k = ${s.topk}`, "sparse attention"],
  nsa_cu_seqlens_k: ["the running sum of nsa_cache_seqlens_int32", "sparse attention, where it reads rows as one list"],
  cu_seqlens_q: ["counts up by one: one query token per row", "attention; the same for every batch"],
  nsa_cu_seqlens_q: ["counts up by one: one query token per row", "sparse attention; the same for every batch"],
};
const CONTRACTS = {
  exact: (more) => `Exact contract: rows are written up to the longest length, ${plural(more, "cell")} for nobody.`,
  "live prefix": () => "Live-prefix contract: a row is written at least up to its own length, and no length is read on the host.",
};

export const LEGEND = [
  ["read", "written now"],
  ["unread", "written, not read"],
  ["stale", "stale"],
  ["foreign", "stale, another's slot"],
  ["never", "never written"],
  ["constant", "constant"],
  ["fault", "read, but not written"],
];

export const who = (scene, person) => (person < 0 ? "nobody" : person ? `request ${scene.people[person]}` : "a padded request");
const sentence = (text) => text[0].toUpperCase() + text.slice(1);

/** The entries of the row or request that a vector's index speaks of. */
function place(scene, field, index) {
  const at = index - (field.name.includes("cu_") ? 1 : 0);
  if (at < 0) return "the zero in front of the sums";
  if (["cache_seqlens_int32", "cu_seqlens_k"].includes(field.name))
    return scene.requests[at] ? who(scene, scene.requests[at].person) : "a padded request";
  return at < scene.rows.length ? rowName(scene, at) : `row ${at}, which is not in use`;
}

export function rowName(scene, r) {
  const [person] = scene.rows[r];
  let first = r, last = r;
  while (first && scene.rows[first - 1][0] === person && person) first--;
  while (person && scene.rows[last + 1]?.[0] === person) last++;
  return last > first ? `${who(scene, person)}, row ${r - first + 1} of ${last - first + 1}` : who(scene, person);
}

/** {title, lines, alarm} of one cell. */
export function facts(packed, name, r, c) {
  const scene = unpack(packed), field = scene.fields.find((f) => f.name === name), at = r * field.columns + c;
  const [value, state, age, owner] = ["values", "states", "ages", "owners"].map((key) => field[key][at]);
  const [what, readers] = FIELDS[name] || ["", "kernels"];
  const lines = field.tokens ? table(scene, field, r, c, value, age > 0 ? owner : -1) : [sentence(`${typeof what === "string" ? what : what(scene)}, for ${place(scene, field, c)}.`)];
  lines.push(history(scene, field, STATES[state], age, owner, r, c));
  if (state === 0) lines.push(`Read by ${readers}.`);
  if (state === 0 && name === "nsa_cache_seqlens_int32" && value === scene.topk) lines.push("Top-k clips it here.");
  return { title: `${name}[${field.tokens ? `${r}, ${c}` : c}] = ${value}`, lines, alarm: state === 6 || state === 5 };
}

function table(scene, field, r, c, value, owner) {
  const size = field.tokens, page = size === 1 ? Math.floor(value / scene.page_size) : value, first = c * size, row = scene.rows[r];
  const tokens = size === 1 ? `token ${first}` : `tokens ${first} to ${first + size - 1}`, place = size === 1 ? `KV slot ${value}` : `page ${value}`;
  if (!row) return [`Row ${r} is not in use.`];
  const whose = `${sentence(rowName(scene, r))}, length ${row[1]}`;
  const lines = [first < row[1] ? `${whose}. Its ${tokens} ${size === 1 ? "lies" : "lie"} in ${place}.` : `${whose}: column ${c} lies behind its end.`];
  const now = scene.pages[page];
  if (owner > 0 && first >= row[1] && page) lines.push(`${sentence(place)} now belongs to ${who(scene, now ?? -1)}${now === row[0] ? " itself" : ""}.`);
  return lines;
}

function history(scene, field, state, age, owner, r, c) {
  const by = `${scene.strategy}, ${scene.contract} contract`, end = scene.rows[r]?.[1], size = field.tokens;
  const row = scene.requests.find(({ person }) => person === scene.rows[r]?.[0])?.pool_row ?? 0;
  const from = size ? ` It is req_to_token[${row}, ${c * size}]${size > 1 ? ` // ${size}` : ""}.` : "";
  const past = end === undefined ? "No reader comes here." : `Readers must stop at token ${end}.`;
  return {
    read: `Written by this replay (${by}).${from}`,
    unread: `Written by this replay (${by}), but nobody reads it.${from}`,
    stale: `Stale: left by ${who(scene, owner)}, whose row this was in replay ${age}. ${field.tokens ? past : "No reader comes here."}`,
    foreign: `Stale, and the worst kind: left by ${who(scene, owner)} in replay ${age}. ${past}`,
    never: "Never written. It holds what capture left there.",
    constant: "Constant: set at capture, and no replay writes it.",
    fault: "Read, but this replay did not write it. That is a fault.",
  }[state];
}

/** What the step teaches, when no cell is looked at. */
export function about(scene) {
  const counts = tally(scene), rows = scene.rows.length, perRequest = { decode: "one row each", idle: "one row each", target_verify: `${scene.draft_tokens} rows each, one per token to check`, draft_extend: scene.fixed_width ? `${scene.draft_tokens} rows each` : "one row per accepted token" }[scene.mode];
  const lines = ["Before the graph replays, these cells must hold this batch's values."];
  lines.push(`${plural(scene.requests.length, "request")}, ${perRequest}: ${plural(rows, "row")} in use.`);
  lines.push(CONTRACTS[scene.contract](counts.unread));
  if (counts.foreign) lines.push(`${plural(counts.foreign, "stale cell")} ${counts.foreign === 1 ? "names a slot" : "name slots"} of another request. Only a row's length keeps readers away.`);
  else if (counts.stale) lines.push(`${plural(counts.stale, "cell")} still ${counts.stale === 1 ? "holds" : "hold"} an earlier batch.`);
  if (scene.draft_steps > 1)
    lines.push(scene.differing_fields.length ? `The ${scene.draft_steps} draft steps differ in ${scene.differing_fields.join(", ")}.` : `All ${scene.draft_steps} draft steps hold the same cells.`);
  return { title: "What this replay did", lines, alarm: false };
}

/** How many cells are in each state; memory that goes by two names counts once. */
export function tally(packed) {
  const counts = Object.fromEntries(STATES.map((state) => [state, 0]));
  for (const field of unpack(packed).fields) if (!field.same_as) for (const state of field.states) counts[STATES[state]]++;
  return counts;
}

export const COSTS = [
  ["launches", "launches", "Tensor operations and kernels of one replay, all draft steps. On a GPU each is at least one launch.", String],
  ["copies", "copy, the others compute", "Copies, most of them into captured sets.", String],
  ["written", "written", "Bytes written, intermediate results included.", bytes],
  ["captured", "into captured sets", "Bytes of captured cells that were written, all draft steps: observed.", bytes],
  ["read", "read", "Bytes read. What a kernel reads cannot be seen from outside.", bytes],
];

/** By field, the cells in which two scenes differ, and how many there are. */
export function differences(one, other) {
  const found = new Map(), [a, b] = [unpack(one), unpack(other)];
  let count = 0;
  for (const field of a.fields) {
    const twin = b.fields.find((f) => f.name === field.name);
    if (!twin || twin.values.length !== field.values.length) continue;
    const cells = [];
    field.values.forEach((value, i) => (value !== twin.values[i] || field.states[i] !== twin.states[i]) && cells.push(i));
    if (cells.length) found.set(field.name, cells);
    if (!field.same_as) count += cells.length;
  }
  return { cells: found, count };
}
