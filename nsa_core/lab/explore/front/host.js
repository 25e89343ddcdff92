// A model for a page without a kernel: plain values, and answers by the rules of a replay.

import { Session } from "./play.js";

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

/** The explorer's model; given: see play.js. */
export function playing(given) {
  const session = new Session(given);
  return new Model({ at: given.at, state: session.state(), busy: null }, (intent, model) => {
    const { at, state } = session.ask(intent);
    model.values.at = at; // one picture, not two
    model.set("state", state);
  });
}
