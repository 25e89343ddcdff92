// Shows the front ends where the pages have a place for them, and hides the still form that follows.

import { Model, playing } from "./front/host.js";

const RULES = "Here the rules of a replay run in your browser. In JupyterLab the package itself replays, and counts the bytes as well.";

for (const place of document.querySelectorAll(".nsa-front")) {
  const { module, ...values } = JSON.parse(place.firstElementChild.textContent);
  const { default: front } = await import(`./front/${module}.js`);
  front.render({ model: module === "explorer" ? playing(values) : new Model(values), el: place });
  if (module === "explorer") place.append(Object.assign(document.createElement("p"), { className: "nsa-rules", textContent: RULES }));
  const still = place.closest(".output")?.nextElementSibling;
  if (still) still.hidden = true;
}
document.documentElement.dataset.fronts = "ready";
