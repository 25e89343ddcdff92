// Draws one scene, or two side by side, on a canvas, and finds the cell under a pointer.

import { css, hue, mix, theme, unpack } from "./base.js";

const HEAD = 34, GAP = 14, BETWEEN = 44, FONT = "system-ui, -apple-system, 'Segoe UI', sans-serif", MONO = "ui-monospace, Menlo, Consolas, monospace";
const [READ, UNREAD, STALE, NEVER, CONSTANT, FAULT, FOREIGN] = [0, 1, 2, 3, 4, 5, 6];

/** Digits of the field's longest number; thousands of cells show none. */
const digits = (field) => String(Math.max(0, ...(field.values.length < 2000 ? field.values : [1e9]))).length;

/** Where every field of the scenes goes: {width, height, blocks, beside}: blocks of cells, and a place for facts. */
export function arrange(scenes, width) {
  const label = width < 640 ? 104 : width < 780 ? 152 : 176, two = scenes.length > 1;
  const side = (width - label - (two ? BETWEEN : 0)) / scenes.length;
  const blocks = [];
  let height = 0, beside = null;
  scenes.map(unpack).forEach((scene, which) => {
    const x0 = label + which * (side + BETWEEN), top = two ? 20 : 0;
    const every = scenes.map(unpack).flatMap((s) => s.fields), widths = new Map();
    for (const f of every) if (f.tokens) widths.set(f.name, Math.max(f.columns, widths.get(f.name) || 0));
    const columns = [...widths.values()].reduce((a, b) => a + b, 0) || 1;
    const few = columns <= 80, room = side - GAP * (widths.size - 1);
    // tables of thousands of columns: the narrower one gets at least a fifth
    let cw = few ? Math.min(27, Math.floor(room / columns)) : room / columns, x = x0;
    const rows = Math.max(1, ...scene.fields.filter((f) => f.tokens).map((f) => f.rows));
    const ch = Math.max(4, Math.min(two ? 19 : 22, Math.floor((two ? 216 : 232) / rows)));
    const breaks = scene.rows.map((row, r) => (r && rows <= 40 && row[0] !== scene.rows[r - 1][0] ? 1 : 0));
    if (rows <= 40 && scene.rows.length < rows) breaks[scene.rows.length] = 1;
    const ys = [];
    for (let r = 0, y = top + HEAD; r <= rows; r++) ys.push((y += (r ? ch : 0) + (r < rows && breaks[r] ? 3 : 0)));
    let bottom = ys[rows];
    for (const [name, most] of widths) {
      const share = few ? cw * most : room * (widths.size === 1 ? 1 : name === "page_table_1" ? 0.8 : 0.2);
      const field = scene.fields.find((f) => f.name === name);
      blocks.push({ scene, which, name, field, x, ys, ch, cw: share / most, width: share, rows: field ? field.rows : 0, columns: most, top: top + HEAD });
      x += share + GAP;
    }
    const vectors = scene.fields.filter((f) => !f.tokens && !(two && f.name.endsWith("cu_seqlens_q"))), longest = Math.max(...vectors.map((f) => f.columns));
    const usual = few && widths.size ? Math.max(cw, 20) : 27, most = Math.floor(side / longest) || side / longest;
    const vcw = Math.min(most, Math.max(usual, ...vectors.map((f) => 7.2 * digits(f) + 4)));
    let y = bottom + 16;
    const right = x0 + vcw * longest + (vectors.some((f) => f.same_as) ? 158 : 24);
    if (!two && width - right >= 290) beside = { x: right, y: y - 2 };
    for (const field of vectors) {
      const known = field.same_as && !scene.fields.find((f) => f.name === field.same_as)?.tokens;
      blocks.push({ scene, which, name: field.name, field, x: x0, ys: [y, y + 18], ch: 18, cw: vcw, width: vcw * field.columns, rows: 1, columns: field.columns, top: y, alias: known && field.same_as });
      y += 20;
    }
    height = Math.max(height, beside ? y + 10 : y + 2);
  });
  return { width, height, label, blocks, two, beside };
}

export const cellAt = (layout, x, y) => {
  for (const b of layout.blocks) {
    if (!b.field || x < b.x || x >= b.x + b.columns * b.cw || y < b.ys[0] || y >= b.ys[b.rows - 1] + b.ch) continue;
    const row = Math.max(0, b.ys.findIndex((top, r) => r < b.rows && y < top + b.ch));
    return { block: b, row, column: Math.floor((x - b.x) / b.cw) };
  }
  return null;
};

function sized(canvas, width, height) {
  const ratio = window.devicePixelRatio || 1;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.height = `${height}px`;
  const pen = canvas.getContext("2d");
  pen.setTransform(ratio, 0, 0, ratio, 0, 0);
  return pen;
}

/** Draw everything but the selection. differing: by field name, the cells in which two scenes differ. */
export function draw(canvas, layout, root, differing, titles) {
  const look = theme(root), pen = sized(canvas, layout.width, layout.height), hatches = new Map();
  const paint = (state, person) => {
    const colour = hue(person);
    if (state === READ) return css(mix(colour, look.surface, look.dark ? 0.62 : 0.45));
    if (state === UNREAD) return css(mix(colour, look.surface, look.dark ? 0.2 : 0.13));
    if (state === CONSTANT) return css(mix(look.ink, look.surface, 0.1));
    if (state === FAULT) return css(look.ink);
    if (state === NEVER) return css(mix(look.ink, look.surface, 0.025));
    const key = `${state} ${person}`;
    if (!hatches.has(key)) hatches.set(key, hatch(pen, css(mix(colour, look.surface, state === FOREIGN ? 0.6 : 0.4)), css(mix(colour, look.surface, 0.07)), state === FOREIGN));
    return hatches.get(key);
  };
  const write = (text, x, y, colour = look.ink, font = `11px ${FONT}`, align = "left") => {
    Object.assign(pen, { font, fillStyle: css(colour), textAlign: align, textBaseline: "middle" });
    pen.fillText(text, x, y);
  };
  for (const block of layout.blocks) drawBlock(pen, block, look, paint, write, differing?.get(block.name));
  labels(pen, layout, look, write, titles);
}

function drawBlock(pen, b, look, paint, write, differing) {
  const { field, scene } = b;
  if (!field) return write("not captured: no reader needs it", b.x, b.ys[0] + 12, look.muted);
  const gap = b.cw >= 7 ? 1 : 0, tall = b.ch - (b.ch >= 8 ? 1 : 0);
  const numbers = b.cw >= 6.2 * digits(field) + 4 && b.ch >= 14, size = b.cw >= 7 * digits(field) + 4 ? 12.5 : 11;
  for (let r = 0; r < b.rows; r++) {
    for (let c = 0, base = r * b.columns; c < b.columns; ) {
      const state = field.states[base + c], owner = field.owners[base + c];
      let end = c + 1;
      while (end < b.columns && field.states[base + end] === state && field.owners[base + end] === owner) end++;
      pen.fillStyle = paint(state, owner);
      if (gap) for (let k = c; k < end; k++) pen.fillRect(b.x + k * b.cw, b.ys[r], b.cw - gap, tall);
      else pen.fillRect(b.x + c * b.cw, b.ys[r], (end - c) * b.cw, tall);
      if (gap) for (let k = c; k < end; k++) sign(pen, b, look, state, b.x + k * b.cw, b.ys[r], b.cw - gap, tall, numbers);
      if (numbers) for (let k = c; k < end; k++) number(pen, look, write, size, state, field.values[base + k], b.x + (k + 0.5) * b.cw - 0.5, b.ys[r] + tall / 2 + 0.5);
      c = end;
    }
    if (numbers && field.tokens && scene.rows[r]) leftBy(pen, b, look, write, r, b.ys[r] + tall / 2);
    const length = scene.rows[r]?.[1];
    if (field.tokens && length !== undefined && length <= b.columns * field.tokens) {
      pen.fillStyle = css(look.ink);
      pen.fillRect(b.x + Math.ceil(length / field.tokens) * b.cw - 1.5, b.ys[r] - 1, 2, tall + 2);
    }
  }
  pen.fillStyle = css(look.ink);
  for (const at of differing || []) pen.fillRect(b.x + (at % b.columns) * b.cw, b.ys[Math.floor(at / b.columns)] + tall - 2, b.cw, 2);
}

function sign(pen, b, look, state, x, y, w, tall, numbers) {
  if (state === NEVER && !numbers) {
    pen.fillStyle = css(look.line);
    pen.fillRect(x + w / 2 - 1, y + tall / 2 - 1, 2, 2);
  }
  if (state === FOREIGN) {
    const size = Math.min(7, w / 2, tall / 2);
    pen.fillStyle = css(look.alarm);
    pen.beginPath();
    pen.moveTo(x + w - size, y);
    pen.lineTo(x + w, y);
    pen.lineTo(x + w, y + size);
    pen.fill();
  }
}

function number(pen, look, write, size, state, value, x, y) {
  const font = `${size}px ${FONT}`;
  if (state === NEVER) return write("·", x, y, look.line, `14px ${FONT}`, "center");
  if (state === STALE || state === FOREIGN) {
    Object.assign(pen, { font, textAlign: "center", textBaseline: "middle", lineWidth: 4, strokeStyle: css(look.surface), lineJoin: "round" });
    pen.strokeText(value, x, y);
  }
  write(value, x, y, state === FAULT ? look.surface : state === UNREAD ? look.muted : look.ink, font, "center");
}

/** Behind the last cell that was ever written: who left it there, if that was another request. */
function leftBy(pen, { field, scene, x, columns, cw }, look, write, r, y) {
  let last = columns - 1;
  while (last > 0 && field.states[r * columns + last] === NEVER) last--;
  const at = r * columns + last, owner = field.owners[at], state = field.states[at];
  if (![STALE, FOREIGN].includes(state) || owner < 1 || owner === scene.rows[r][0] || (columns - 1 - last) * cw < 60) return;
  pen.fillStyle = css(look.surface);
  pen.fillRect(x + (last + 1) * cw, y - 8, 56, 16);
  write(`left by ${scene.people[owner]}`, x + (last + 1) * cw + 4, y + 0.5, look.muted);
}

function hatch(pen, line, ground, crossed) {
  const ratio = window.devicePixelRatio || 1, size = 8;
  const tile = document.createElement("canvas");
  tile.width = tile.height = size * ratio;
  const t = tile.getContext("2d");
  t.scale(ratio, ratio);
  t.fillStyle = ground;
  t.fillRect(0, 0, size, size);
  t.strokeStyle = line;
  t.lineWidth = 1.3;
  t.beginPath();
  for (const k of [-size, 0, size]) {
    t.moveTo(k - 1, size + 1);
    t.lineTo(k + size + 1, -1);
    if (crossed) t.moveTo(k - 1, -1), t.lineTo(k + size + 1, size + 1);
  }
  t.stroke();
  const pattern = pen.createPattern(tile, "repeat");
  pattern.setTransform(new DOMMatrix().scale(1 / ratio));
  return pattern;
}

function labels(pen, layout, look, write, titles) {
  for (const b of layout.blocks) {
    const left = layout.blocks.find((other) => other.which === b.which).x;
    if (b.field?.tokens || !b.field) {
      if (layout.two && b.x === left) write(titles[b.which], b.x, 8, look.ink, `600 12px ${FONT}`);
      header(b, layout.label < 150, look, write);
      if (b.x === left) rowLabels(pen, b, layout, look, write);
    } else if (b.which === 0) {
      const narrow = layout.label < 150, name = narrow ? b.name.replace("nsa_seqlens_", "len_").replace("seqlens", "len").replace("_int32", "") : b.name;
      write(name, layout.label - 10, b.ys[0] + 9.5, b.alias ? look.muted : look.ink, `${layout.label < 176 ? 10 : 11}px ${MONO}`, "right");
      if (b.alias && b.x + b.width + (narrow ? 90 : 150) < layout.width) write(narrow ? "same memory" : "the same memory as above", b.x + b.width + 8, b.ys[0] + 9.5, look.muted);
    }
  }
}

function header(b, narrow, look, write) {
  const wide = b.width > 330, table = b.name === "page_table_1", size = b.scene.page_size, y = b.top - HEAD + 8;
  const left = table || b.width > 100; // a narrow table's name reaches over the free end of its neighbour's
  write(b.name, left ? b.x : b.x + b.width, y, look.ink, `600 ${narrow ? 10 : 12}px ${FONT}`, left ? "left" : "right");
  if (wide) write(table ? "the KV slot of each token" : "the page of each page's first token", b.x + 96, y, look.muted);
  const every = b.cw >= 18 ? 1 : Math.ceil(44 / b.cw / (table ? size : 1)) * (table ? size : 1);
  const fits = (c) => b.cw >= 7 || c * b.cw + 6.4 * String(c).length <= b.width; // a label ends with its table
  for (let c = 0; b.field && c < b.columns && fits(c); c += every)
    write(c, b.x + (c + (b.cw >= 7 ? 0.5 : 0)) * b.cw, b.top - 9, look.muted, `${b.cw < 7 || (table && c % size) ? "" : "600 "}11px ${FONT}`, b.cw >= 7 ? "center" : "left");
}

function rowLabels(pen, b, layout, look, write) {
  const { scene } = b, right = b.x - 10, count = new Map(), second = b.which > 0, narrow = layout.label < 150;
  for (const [person] of scene.rows) count.set(person, (count.get(person) || 0) + 1);
  const more = 6.5 * (String(Math.max(10, ...scene.rows.map(([, length]) => length))).length - 2), left = right - more; // of long lengths
  for (let r = 0, nth = 0; r < b.rows; r++) {
    const row = scene.rows[r], y = b.ys[r] + b.ch / 2;
    nth = r && row && scene.rows[r - 1]?.[0] === row[0] ? nth + 1 : 1;
    pen.fillStyle = css(row ? hue(row[0]) : look.line);
    pen.fillRect(b.x - 6, b.ys[r], 3, b.ch - (b.ch > 8 ? 1 : 0));
    if (b.ch < 13) {
      if (row && nth === 1 && b.ch * count.get(row[0]) >= 11) write(second ? scene.people[row[0]] : named(scene, row[0]), right, b.ys[r] + 6, look.muted, `10px ${FONT}`, "right");
      continue;
    }
    const person = row?.[0];
    const several = count.get(person) > 1 && !narrow;
    if (person && nth === 1) badge(pen, look, write, scene, person, second ? b.x - 10 : left - (narrow ? 22 : several ? 124 : 58), y);
    if (second) continue;
    if (!row) write("not in use", right, y, look.muted, `11px ${FONT}`, "right");
    else write(narrow ? row[1] : `length ${row[1]}`, right, y, person ? look.ink : look.muted, `11px ${FONT}`, "right");
    if (row && !person) write("padding", left - 58, y, look.muted, `11px ${FONT}`, "right");
    if (person && several) write(`row ${nth} of ${count.get(person)}`, left - 116, y, look.muted);
  }
}

const named = (scene, person) => (person ? `request ${scene.people[person]}` : "padding");

function badge(pen, look, write, scene, person, x, y) {
  const name = scene.people[person], width = Math.max(17, 7 * name.length + 8);
  pen.fillStyle = css(mix(hue(person), look.surface, look.dark ? 0.8 : 0.9));
  pen.beginPath();
  pen.roundRect(x - width, y - 8, width, 16, 4);
  pen.fill();
  write(name, x - width / 2, y + 0.5, [255, 255, 255], `700 11px ${FONT}`, "center");
}

/** The selected cell, and thinly the cells that belong to it. */
export function mark(canvas, layout, root, selected, related) {
  const pen = sized(canvas, layout.width, layout.height), look = theme(root);
  const frame = ({ block: b, row, column }, wide, colour) => {
    const w = Math.max(b.cw, 4);
    pen.lineWidth = wide;
    pen.strokeStyle = css(colour);
    pen.strokeRect(b.x + column * b.cw - 1, b.ys[row] - 1, w + 1, b.ch + 1);
  };
  for (const cell of related) frame(cell, 1.5, look.muted);
  if (selected) frame(selected, 4, look.surface), frame(selected, 2, look.ink);
}
