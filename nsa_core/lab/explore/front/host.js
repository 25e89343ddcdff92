// Shows the explorer on a page without a kernel: a model over plain values, and states that were prepared.

import explorer from "./explorer.js";

/** What `render` asks of a model: get, set, save_changes, on, off, send. answer: called with every intent. */
export class Model {
  constructor(values, answer = () => {}) {
    Object.assign(this, { values, answer, listeners: new Map() });
  }
  get(name) { return this.values[name]; }
  set(name, value) {
    this.values[name] = value;
    for (const listener of this.listeners.get(`change:${name}`) || []) listener();
  }
  save_changes() {}
  on(event, listener) { this.listeners.set(event, [...(this.listeners.get(event) || []), listener]); }
  off(event, listener) { this.listeners.set(event, (this.listeners.get(event) || []).filter((other) => other !== listener)); }
  send(intent) { this.answer(intent, this); }
}

const chosen = (state) => Object.fromEntries(state.controls.map((control) => [control.name, control.value]));
const same = (one, other) => Object.keys(one).every((name) => one[name] === other[name]);

/** Show the first of these states in `el`, and the others where their controls lead to them. */
export function show(el, states, at = 0) {
  const here = states.map(chosen);
  for (const [i, state] of states.entries())
    for (const control of state.controls)
      for (const option of control.options)
        if (!here.some((other) => same({ ...here[i], [control.name]: option.value }, other))) option.why ||= "This page has no kernel to observe it";
  const model = new Model({ state: states[0], at, busy: null }, (intent) => {
    const found = here.findIndex((other) => same({ ...chosen(model.get("state")), [intent.set]: intent.value }, other));
    if (found >= 0) model.set("state", states[found]);
  });
  return explorer.render({ model, el });
}
