// The rules of a replay, for pages without a kernel: which cells it writes, what with, who reads them, what stays.
//
// setup: mode, fixed_width, bs, width, page_size, topk, draft_tokens, steps, tables (names), strategy, contract
//        ("exact" or "live prefix"), sets (how many sets the steps have between them).
// batch: lengths, accepts, rows (of the token table), people (names), table (its rows, of KV slots).
// tests/test_rules_in_the_browser.py compares every cell with the package's own replays and with recorded ones.

const [READ, UNREAD, STALE, NEVER, CONSTANT, FAULT, FOREIGN] = [0, 1, 2, 3, 4, 5, 6];
const NOBODY = -1, PADDING = 0, UNWRITTEN = 0, FIXED = -1; // people; ages
const PER_REQUEST = ["cache_seqlens_int32", "cu_seqlens_k"];

const isDecode = ({ mode }) => mode === "decode" || mode === "idle";
export const isRagged = ({ mode, fixed_width }) => mode === "draft_extend" && !fixed_width;
/** Tokens that the last column in use lies beyond a request's length. */
export const growth = ({ mode, draft_tokens }) => (mode === "target_verify" ? draft_tokens : 0);
const capacity = (setup) => setup.bs * (isDecode(setup) ? 1 : setup.draft_tokens);
const range = (count) => Array.from({ length: count }, (_, i) => i);

/** As engines pad a batch to the captured size: length 1, pool row 0, one token accepted. */
function padded(setup, batch) {
  const fill = (values, filler) => [...values, ...Array(setup.bs - values.length).fill(filler)];
  return { ...batch, lengths: fill(batch.lengths, 1), rows: fill(batch.rows, 0), accepts: isRagged(setup) ? fill(batch.accepts, 1) : null };
}

/** The rows in use, in order: the request that each serves, and the tokens it may attend to. */
export function rowsInUse(setup, { lengths, accepts }) {
  return lengths.flatMap((tokens, request) => {
    const brought = accepts ? accepts[request] : setup.draft_tokens;
    const [first, count] = isDecode(setup) ? [tokens, 1] : setup.mode === "target_verify" ? [tokens + 1, setup.draft_tokens] : [tokens - brought + 1, brought];
    return range(count).map((more) => ({ request, length: Math.max(first + more, 0) }));
  });
}

const sums = (lengths) => lengths.map(((total) => (length) => (total += length))(0));

/** What a replay writes, field by field: write(name, cell, value). */
function eachWrite(setup, batch, rows, write) {
  const lengths = batch.lengths.map((tokens) => tokens + growth(setup)), own = rows.map(({ length }) => length);
  const attended = own.map((length) => Math.min(length, setup.topk));
  const vector = (name, first, values) => values.forEach((value, i) => write(name, first + i, value));
  vector("cache_seqlens_int32", 0, lengths);
  vector("cu_seqlens_k", 1, sums(lengths)); // the zero in front is written at capture only
  vector("nsa_seqlens_expanded", 0, own);
  vector("nsa_cache_seqlens_int32", 0, attended);
  vector("nsa_cu_seqlens_k", 1, sums(attended));
  const longest = Math.max(...lengths);
  for (const name of setup.tables) {
    const tokens = name === "page_table_1" ? 1 : setup.page_size, columns = Math.ceil(setup.width / tokens);
    rows.forEach(({ request }, r) => {
      // Under the live-prefix contract a row may end anywhere behind its length; the kernel ends all rows of a request alike.
      const slots = batch.table[batch.rows[request]], end = setup.contract === "exact" ? longest : lengths[request];
      for (let c = 0; c * tokens < end; c++) write(name, r * columns + c, Math.floor(slots[c * tokens] / tokens));
    });
  }
}

/** A captured set: every field with its cells, as it is before the first replay. */
function capture(setup) {
  const cap = capacity(setup), { bs, page_size, tables, width } = setup, decode = isDecode(setup);
  const sizes = { cache_seqlens_int32: bs, nsa_seqlens_expanded: cap, nsa_cache_seqlens_int32: cap, cu_seqlens_k: bs + 1, nsa_cu_seqlens_k: cap + 1 };
  const table = (name, tokens) => (tables.includes(name) ? [{ name, tokens, rows: cap, columns: Math.ceil(width / tokens) }] : []);
  const fields = [
    ...table("page_table_1", 1),
    ...table("real_page_table", page_size),
    ...Object.entries({ ...sizes, cu_seqlens_q: cap + 1, nsa_cu_seqlens_q: cap + 1 }).map(([name, columns]) => ({ name, tokens: 0, rows: 1, columns })),
  ];
  const twins = { ...(decode ? { nsa_seqlens_expanded: "cache_seqlens_int32" } : {}), ...(page_size === 1 && tables.length === 2 ? { real_page_table: "page_table_1" } : {}) };
  return fields.map((field) => {
    const size = field.rows * field.columns, values = new Int32Array(size);
    if (field.name.endsWith("cu_seqlens_q")) values.forEach((_, i) => (values[i] = i));
    return { ...field, same_as: twins[field.name] ?? null, values, ages: new Int32Array(size).fill(FIXED) };
  });
}

/** Captured cells of one setup, and for each the replay that wrote it last. All draft steps hold the same. */
export class Captured {
  constructor(setup) {
    Object.assign(this, { setup, fields: capture(setup), past: [] });
    this.byName = new Map(this.fields.map((field) => [field.name, field]));
    for (const batch of longestBatches(setup))
      eachWrite(setup, batch, rowsInUse(setup, batch), (name, at) => (this.byName.get(name).ages[at] = UNWRITTEN));
  }

  replay(batch) {
    const { setup } = this, whole = padded(setup, batch), rows = rowsInUse(setup, whole);
    this.past.push({ batch, rows });
    this.written = 0;
    eachWrite(setup, whole, rows, (name, at, value) => {
      const field = this.byName.get(name);
      field.values[at] = value;
      field.ages[at] = this.past.length;
      this.written += field.same_as ? 0 : 1;
    });
  }

  /** Whether a reader that bounds each row by its length reads this cell. */
  isLive({ name, tokens, columns }, at) {
    const { rows } = this.past.at(-1), r = Math.floor(at / columns);
    if (tokens) return r < rows.length && (at % columns) * tokens < rows[r].length;
    return PER_REQUEST.includes(name) || at < rows.length + columns - capacity(this.setup);
  }

  /** The last replay as front/README.md has it, its cells unpacked. counts: launches and copies, where they are known. */
  scene(people, note, counts = {}) {
    const { setup } = this, { batch, rows } = this.past.at(-1), index = new Map(people.map((name, i) => [name, i]));
    const whose = this.past.map((replay) => owners(setup, replay, index)), pages = holders(setup, batch, index);
    const fields = this.fields.map((field) => ({ ...field, shape: [field.rows, field.columns], ...this.marks(field, whose, pages) }));
    return {
      note, replay: this.past.length, ...setup, draft_step: 0, draft_steps: setup.steps, differing_fields: [], people,
      requests: batch.people.map((name, i) => ({ person: index.get(name), length: batch.lengths[i], accepted: batch.accepts?.[i] ?? null, pool_row: batch.rows[i] })),
      rows: rows.map(({ request, length }) => [request < batch.people.length ? index.get(batch.people[request]) : PADDING, length]),
      pages, fields, cost: { ...counts, captured: 4 * this.written * setup.sets },
    };
  }

  /** State of every cell, and whose row it was when it was written. */
  marks(field, whose, pages) {
    const states = new Int32Array(field.values.length), people = new Int32Array(field.values.length), last = this.past.length;
    const of = (age, at) => {
      const row = field.tokens ? Math.floor(at / field.columns) : at - (field.name.includes("cu_") ? 1 : 0);
      return whose[age - 1][PER_REQUEST.includes(field.name) ? "requests" : "rows"][row] ?? NOBODY;
    };
    field.values.forEach((value, at) => {
      const age = field.ages[at], owner = age > 0 ? of(age, at) : NOBODY, now = of(last, at);
      const state = stateOf(age, this.isLive(field, at), last);
      const held = field.tokens ? pages[field.name === "page_table_1" ? Math.floor(value / this.setup.page_size) : value] : undefined;
      people[at] = owner;
      states[at] = state === STALE && held !== undefined && held !== now && now !== NOBODY ? FOREIGN : state;
    });
    return { values: field.values.slice(), ages: field.ages.slice(), states, owners: people };
  }
}

const stateOf = (age, live, last) => (age === last ? (live ? READ : UNREAD) : age === FIXED ? CONSTANT : live ? FAULT : age === UNWRITTEN ? NEVER : STALE);

/** The batches that between them write every cell that any batch can write. */
function longestBatches(setup) {
  const { bs, width, draft_tokens } = setup, longest = width - growth(setup), most = Math.min(draft_tokens, longest), slots = new Int32Array(width);
  const firsts = setup.mode === "draft_extend" ? range(most).map((i) => i + 1) : [most];
  const full = (value) => Array(bs).fill(value);
  return firsts.map((first) => ({ lengths: full(longest), rows: full(0), accepts: isRagged(setup) ? [first, ...full(most).slice(1)] : null, table: [slots] }));
}

/** Who the requests, and the rows, of a replay belonged to. */
function owners(setup, { batch, rows }, index) {
  const requests = range(setup.bs).map((i) => (i < batch.people.length ? index.get(batch.people[i]) : PADDING));
  return { requests, rows: rows.map(({ request }) => requests[request]) };
}

/** Whose each page is now. */
function holders(setup, batch, index) {
  const pages = {};
  batch.people.forEach((name, i) => {
    for (let t = 0; t < batch.lengths[i] + growth(setup); t += setup.page_size) pages[Math.floor(batch.table[batch.rows[i]][t] / setup.page_size)] = index.get(name);
  });
  return pages;
}

/** Everybody in these batches, in order of first appearance, behind padding. */
export const everybody = (batches) => ["padding", ...new Set(batches.flatMap((batch) => batch.people))];
