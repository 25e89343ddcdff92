// The explorer: controls above, the grid in the middle, facts beside it, costs below.
// It knows a model (front/README.md) and no Python: any host that gives it one can show it.

import { css, h, hue, plural, theme, unpack } from "./base.js";
import { COSTS, LEGEND, about, differences, facts, rowName, tally } from "./facts.js";
import { arrange, cellAt, draw, mark } from "./grid.js";

const PLAY_MS = 1600;

class Explorer {
  constructor(model, el) {
    this.model = model;
    this.pinned = this.hovered = null;
    this.build(el);
    this.update();
    this.listeners = [];
    const later = () => this.update();
    model.on("change:state", later);
    model.on("change:at", later);
    const working = () => this.showBusy();
    model.on("change:busy", working);
    this.watch = new ResizeObserver(() => this.board.clientWidth !== this.layout?.width && this.paint());
    this.watch.observe(this.board);
    this.themes = new MutationObserver(() => this.paint());
    for (const element of [document.body, document.documentElement]) this.themes.observe(element, { attributes: true });
    this.scheme = matchMedia("(prefers-color-scheme: dark)");
    this.scheme.addEventListener("change", (this.repaint = () => this.paint()));
    this.stop = () => {
      model.off("change:state", later);
      model.off("change:at", later);
      model.off("change:busy", working);
      this.watch.disconnect();
      this.themes.disconnect();
      this.scheme.removeEventListener("change", this.repaint);
      clearInterval(this.timer);
    };
  }

  get state() { return this.model.get("state"); }
  get at() { return Math.min(this.model.get("at"), this.state.frames.length - 1); }
  get scenes() {
    const { frames, others } = this.state, scene = frames[this.at];
    return others.length ? [scene, others[Math.min(this.at, others.length - 1)]].filter(Boolean) : [scene];
  }

  build(el) {
    this.controls = h("div", { className: "nsa-controls" });
    this.previous = h("button", { type: "button", title: "Previous step", ariaLabel: "Previous step", onclick: () => this.go(this.at - 1) }, "‹");
    this.play = h("button", { type: "button", className: "nsa-play", onclick: () => this.toggle() }, "▶ Play");
    this.next = h("button", { type: "button", title: "Next step", ariaLabel: "Next step", onclick: () => this.go(this.at + 1) }, "›");
    this.dots = h("span", { className: "nsa-dots", role: "group", ariaLabel: "Replays" });
    this.note = h("span", { className: "nsa-note" });
    this.requests = h("div", { className: "nsa-requests" });
    this.board = h("div", { className: "nsa-board" });
    this.base = h("canvas", { ariaHidden: "true" });
    this.top = h("canvas", { tabIndex: 0, role: "application", className: "nsa-top" });
    this.board.append(this.base, this.top);
    this.facts = h("section", { className: "nsa-facts", ariaLive: "polite" });
    this.legend = h("div", { className: "nsa-legend" });
    this.costs = h("div", { className: "nsa-costs" });
    this.busy = h("div", { className: "nsa-busy", role: "status", hidden: true });
    const transport = h("div", { className: "nsa-transport" }, this.previous, this.play, this.next, this.dots, this.note);
    this.main = h("div", { className: "nsa-main" }, this.board);
    this.foot = h("div", { className: "nsa-foot" }, this.facts, h("div", {}, this.legend, this.costs));
    this.root = h("div", { className: "nsa-explorer" }, h("div", { className: "nsa-inner" },
      this.controls, transport, this.requests, this.main, this.foot, this.busy));
    el.append(this.root);
    const where = (event) => cellAt(this.layout, event.offsetX, event.offsetY);
    this.top.addEventListener("pointermove", (event) => event.pointerType !== "touch" && this.look((this.hovered = where(event))));
    this.top.addEventListener("pointerleave", () => this.look((this.hovered = null)));
    this.top.addEventListener("click", (event) => this.pin(where(event)));
    this.top.addEventListener("keydown", (event) => this.key(event));
    this.top.addEventListener("focus", () => this.pinned || !this.top.matches(":focus-visible") || this.pin(this.first()));
  }

  // What the reader asks for

  send(intent) { this.model.send({ at: this.at, ...intent }); }

  go(at) {
    const last = this.state.frames.length - 1;
    this.model.set("at", Math.max(0, Math.min(last, at)));
    this.model.save_changes();
  }

  toggle() {
    if (this.timer) this.timer = clearInterval(this.timer);
    else {
      if (this.at === this.state.frames.length - 1) this.go(0);
      this.timer = setInterval(() => {
        this.go(this.at + 1);
        if (this.at === this.state.frames.length - 1) this.toggle();
      }, PLAY_MS);
    }
    this.showTransport();
  }

  pin(cell) {
    const same = cell && this.pinned && cell.block.name === this.pinned.name && cell.row === this.pinned.row && cell.column === this.pinned.column && cell.block.which === this.pinned.which;
    this.pinned = cell && !same ? { name: cell.block.name, which: cell.block.which, row: cell.row, column: cell.column } : null;
    this.look();
  }

  first() { return { block: this.layout.blocks[0], row: 0, column: 0 }; }

  key(event) {
    const moves = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0], Home: [0, -Infinity], End: [0, Infinity] };
    if (event.key === "Escape") return this.pin(null);
    if (event.key === " ") return event.preventDefault(), this.toggle();
    if (["n", "p"].includes(event.key)) return this.go(this.at + (event.key === "n" ? 1 : -1));
    const move = moves[event.key];
    if (!move) return;
    event.preventDefault();
    event.stopPropagation();
    const blocks = this.layout.blocks.filter((b) => b.field), cell = this.found(this.pinned) || this.first();
    let { block, row, column } = cell;
    let at = blocks.indexOf(block);
    row += move[0];
    column += move[1];
    if (row < 0 || row >= block.rows) {
      // above and below lie other fields of the same side
      const onward = blocks.filter((b, i) => b.which === block.which && (move[0] > 0 ? i > at && !b.field.tokens : i < at));
      block = (move[0] > 0 ? onward[0] : onward.at(-1)) || block;
      if (block !== cell.block) row = move[0] > 0 ? 0 : block.rows - 1;
    } else if (Number.isFinite(column) && (column < 0 || column >= block.columns)) {
      const beside = blocks[at + move[1]];
      if (beside && beside.field.tokens && block.field.tokens) (block = beside), (column = move[1] > 0 ? 0 : beside.columns - 1);
    }
    row = Math.max(0, Math.min(block.rows - 1, row));
    column = Math.max(0, Math.min(block.columns - 1, column));
    this.pinned = { name: block.name, which: block.which, row, column };
    this.hovered = null;
    this.look();
  }

  // What the model says

  update() {
    const { refusal, controls } = this.state;
    this.showBusy();
    this.showControls(controls, refusal);
    this.showTransport();
    this.showRequests(refusal);
    this.paint();
  }

  showBusy() {
    const busy = this.model.get("busy");
    this.busy.hidden = !busy;
    this.busy.textContent = busy ? `${busy.text} ${busy.done} of ${busy.total}` : "";
    this.busy.style.setProperty("--done", busy ? busy.done / busy.total : 0);
  }

  showControls(controls, refusal) {
    if (this.controls.childElementCount !== controls.length) this.controls.replaceChildren(...controls.map((c) => this.control(c)));
    controls.forEach((control, i) => {
      const label = this.controls.children[i], select = label.querySelector("select"), refused = refusal?.control === control.name;
      const signature = JSON.stringify(control.options);
      if (select.dataset.options !== signature) {
        select.dataset.options = signature;
        const groups = new Map();
        for (const option of control.options) {
          const element = h("option", { value: option.value, disabled: Boolean(option.why), title: option.why || null }, option.why ? `${option.label} (not here)` : option.label);
          const group = option.group || "";
          if (!groups.has(group)) groups.set(group, []);
          groups.get(group).push(element);
        }
        select.replaceChildren(...[...groups].flatMap(([name, options]) => (name ? [h("optgroup", { label: name }, ...options)] : options)));
      }
      select.value = control.value;
      select.disabled = Boolean(control.why);
      label.title = control.why || control.hint || "";
      select.setAttribute("aria-invalid", refused);
      label.classList.toggle("nsa-refused", refused);
      label.querySelector("small").textContent = refused ? `Refused. ${refusal.text}` : "";
    });
  }

  control(control) {
    const select = h("select", { onchange: () => {
      const value = select.value;
      select.value = this.state.controls.find((c) => c.name === control.name).value; // until the picture shows it
      this.send({ set: control.name, value });
    } });
    return h("label", {}, h("span", {}, control.label), select, h("small", { role: "alert" }));
  }

  showTransport() {
    const { frames } = this.state;
    this.previous.disabled = this.at === 0;
    this.next.disabled = this.at === frames.length - 1;
    this.play.disabled = frames.length < 2;
    this.play.textContent = this.timer ? "❚❚ Pause" : "▶ Play";
    if (this.dots.childElementCount !== frames.length)
      this.dots.replaceChildren(...frames.map((_, i) => h("button", { type: "button", onclick: () => this.go(i) }, String(i + 1))));
    [...this.dots.children].forEach((dot, i) => {
      dot.setAttribute("aria-current", i === this.at ? "step" : "false");
      dot.ariaLabel = `Replay ${i + 1}: ${frames[i].note}`;
      dot.title = frames[i].note;
    });
    this.note.textContent = frames[this.at].note;
  }

  showRequests(refusal) {
    const scene = this.state.frames[this.at], { edit } = this.state, look = theme(this.root);
    const focused = this.requests.contains(document.activeElement) ? document.activeElement.dataset.key : null;
    const button = (key, text, label, intent, why) => {
      const element = h("button", { type: "button", title: why || label, ariaLabel: label, disabled: Boolean(why), onclick: () => this.send(intent) }, text);
      element.dataset.key = key;
      return element;
    };
    const entry = (name, key, value, label) => {
      const box = h("input", { type: "number", value, title: edit.why || label, ariaLabel: label, disabled: Boolean(edit.why), onchange: () => {
        const asked = box.valueAsNumber;
        box.value = value; // until the picture shows it
        this.send({ edit: name, [key]: asked });
      } });
      box.dataset.key = `${name} ${key}`;
      return box;
    };
    const ragged = scene.mode === "draft_extend" && !scene.fixed_width;
    const chips = edit.long ? [] : scene.requests.map(({ person, length, accepted }) => {
      const name = scene.people[person], refused = refusal?.control === name;
      const chip = h("span", { className: `nsa-chip${refused ? " nsa-refused" : ""}`, role: "group", ariaLabel: `Request ${name}` },
        h("b", {}, name), entry(name, "length", length, `Length of request ${name}`),
        ragged ? h("span", { className: "nsa-accepted" }, "a ", entry(name, "accepted", accepted, `Accepted tokens of request ${name}`)) : null,
        button(`${name} grow`, "+1", `Request ${name} grows by one token`, { edit: name, length: length + 1 }, edit.why),
        button(`${name} finish`, "×", `Request ${name} finishes`, { finish: name }, edit.why || (scene.requests.length < 2 ? "A batch has at least one request" : null)));
      chip.firstChild.style.background = css(hue(person));
      return chip;
    });
    const full = scene.requests.length >= edit.most ? `${edit.most} requests were captured; finish one first` : null;
    const refused = refusal && !this.state.controls.some((c) => c.name === refusal.control) ? `Refused. ${refusal.text}` : "";
    this.requests.replaceChildren(
      h("span", { className: "nsa-name" }, edit.long ? `${plural(scene.requests.length, "request")} of a recorded trace` : "Lengths"), ...chips,
      ...(edit.long ? [] : [button("admit", "+ admit", "Admit a request", { admit: 5 }, edit.why || full), edit.changed ? button("reset", "back to the story", "Drop these batches, back to the story", { reset: true }) : ""]),
      h("small", { role: "alert" }, refused));
    if (focused) this.requests.querySelector(`[data-key="${focused}"]`)?.focus();
  }

  // The picture

  paint() {
    const width = this.board.clientWidth, scenes = this.scenes;
    if (!width) return;
    if (width !== this.layout?.width) this.tallest = 0;
    this.layout = arrange(scenes, width);
    this.difference = scenes.length > 1 ? differences(...scenes) : null;
    // facts stand beside the vectors where there is room, in the foot elsewhere
    const { beside } = this.layout, place = beside ? this.main : this.foot;
    if (this.facts.parentElement !== place) place.prepend(this.facts);
    this.facts.classList.toggle("nsa-beside", beside !== null);
    if (beside) Object.assign(this.facts.style, { left: `${beside.x}px`, top: `${beside.y}px` });
    draw(this.base, this.layout, this.root, this.difference?.cells, this.titles());
    this.showLegend(scenes);
    this.showCosts(scenes);
    this.look();
    this.root.dataset.painted = performance.now();
  }

  titles() {
    const { compared } = this.state;
    return this.scenes.map((scene, i) => {
      if (!compared) return "";
      return compared[i] + (i && this.difference ? ` · ${plural(this.difference.count, "cell")} differ${this.difference.count === 1 ? "s" : ""}` : "");
    });
  }

  found(pinned) {
    const block = pinned && this.layout.blocks.find((b) => b.field && b.name === pinned.name && b.which === pinned.which);
    return block && pinned.row < block.rows && pinned.column < block.columns ? { block, row: pinned.row, column: pinned.column } : null;
  }

  look() {
    const cell = this.hovered || this.found(this.pinned), scene = cell ? cell.block.scene : this.scenes[0];
    const told = cell ? facts(this.scenes[cell.block.which], cell.block.name, cell.row, cell.column) : about(unpack(this.scenes[0]));
    mark(this.top, this.layout, this.root, cell, cell ? this.related(cell) : []);
    this.top.setAttribute("aria-label", cell ? `${told.title}. ${told.lines.join(" ")}` : "Captured cells. Arrow keys move from cell to cell.");
    this.facts.classList.toggle("nsa-alarm", told.alarm);
    this.facts.style.minHeight = ""; // so much that nothing below moves when a cell has less to say
    this.facts.replaceChildren(h("h4", {}, told.title), ...told.lines.map((line) => h("p", {}, line)));
    this.tallest = Math.max(this.tallest, this.facts.offsetHeight);
    this.facts.style.minHeight = `${this.tallest}px`;
    this.main.style.minHeight = this.layout.beside ? `${this.layout.beside.y + this.tallest}px` : "";
  }

  /** Cells that bound or repeat this one: the row's length, and the same tokens in the other table. */
  related({ block, row, column }) {
    const blocks = this.layout.blocks.filter((b) => b.field && b.which === block.which), found = [];
    const take = (name, r, c) => {
      const b = blocks.find((o) => o.name === name && o !== block);
      if (b && r < b.rows && c < b.columns) found.push({ block: b, row: r, column: c });
    };
    if (!block.field.tokens) return found;
    const size = block.scene.page_size;
    if (block.columns * block.rows < 4000) take(block.name === "page_table_1" ? "real_page_table" : "page_table_1", row, block.name === "page_table_1" ? Math.floor(column / size) : column * size);
    take("nsa_seqlens_expanded", 0, row);
    return found;
  }

  showLegend(scenes) {
    const counts = tally(scenes[0]);
    this.legend.replaceChildren(h("span", {}, scenes[0].draft_steps > 1 ? `Draft step ${scenes[0].draft_step}, cells` : "Cells"), ...LEGEND.filter(([state]) => state !== "fault" || counts.fault).map(([state, text]) =>
      h("span", {}, h("i", { className: `nsa-key nsa-${state}` }), `${text} `, h("b", {}, counts[state].toLocaleString("en")))),
      h("span", {}, h("i", { className: "nsa-key nsa-end" }), "kernels stop"),
      scenes.length > 1 ? h("span", {}, h("i", { className: "nsa-key nsa-differs" }), "differs from the other side") : "");
  }

  showCosts(scenes) {
    const { compared } = this.state;
    this.costs.replaceChildren(h("span", { className: "nsa-name" }, scenes[0].draft_steps > 1 ? `All ${scenes[0].draft_steps} sets cost` : "The refresh costs"), ...COSTS.filter(([key]) => key in scenes[0].cost && (key !== "copies" || scenes.some((scene) => scene.cost.copies))).map(([key, label, hint, format]) => {
      const values = scenes.map((scene) => scene.cost[key]), most = Math.max(...values.map((v) => v ?? 0), 1);
      return h("div", { title: hint }, h("div", {}, ...values.map((value, i) =>
        h("div", { className: `nsa-cost${value === null ? " nsa-none" : ""}`, title: compared ? `${compared[i]}: ${hint}` : hint },
          scenes.length > 1 ? h("span", { className: "nsa-bar", style: `--share:${(value ?? 0) / most}` }) : "", format(value)))),
      h("span", { className: "nsa-name" }, key === "launches" && most === 1 ? "launch" : label));
    }));
  }
}

export default {
  render({ model, el }) {
    const explorer = new Explorer(model, el);
    return () => explorer.stop();
  },
};
