// Shows the front ends where the pages have a place for them, and hides the still form that follows.

import { Model } from "./front/host.js";

/** What a kernel would hold and answer, by module. */
async function modelOf({ module, ...values }) {
  if (module !== "explorer") return new Model(values);
  const { Session } = await import("./front/play.js");
  const session = new Session(values);
  return new Model({ at: values.at, state: session.state(), busy: null }, (intent, model) => {
    const { at, state } = session.ask(intent);
    model.values.at = at;
    model.set("state", state);
  });
}

for (const place of document.querySelectorAll(".nsa-front")) {
  const given = JSON.parse(place.querySelector("script").textContent);
  const [front, model] = await Promise.all([import(`./front/${given.module}.js`), modelOf(given)]);
  front.default.render({ model, el: place });
  place.dataset.live = given.module;
  const still = place.closest(".output")?.nextElementSibling;
  if (still) still.hidden = true;
}
document.documentElement.dataset.fronts = "ready";
