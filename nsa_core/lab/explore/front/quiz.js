// A question with answers to choose from; nothing is right or wrong before the reader has chosen.
//
// Model: question  text; `backticks` set code
//        code      program text, or "": its line of dots is the one to choose
//        options   [{text, right, because}]
//        chosen    place of the chosen option, -1: none
// A host offers model.get, set, on, save_changes; no kernel is asked.

function element(tag, className, text = "") {
  const made = document.createElement(tag);
  made.className = className;
  text.split("`").forEach((part, at) => {
    if (at % 2) made.append(Object.assign(document.createElement("code"), { textContent: part }));
    else made.append(part);
  });
  return made;
}

const plain = (tag, className, text) => Object.assign(document.createElement(tag), { className, textContent: text });

function program(model) {
  const chosen = model.get("options")[model.get("chosen")];
  const shown = plain("pre", "nsa-quiz-code", "");
  for (const line of model.get("code").split("\n")) {
    const open = line.trim() === "...";
    const text = open && chosen ? line.replace("...", chosen.text) : line;
    shown.append(plain("span", open ? "nsa-quiz-line" : "", text + "\n"));
  }
  return shown;
}

function verdict(model) {
  const chosen = model.get("options")[model.get("chosen")];
  if (!chosen) return element("p", "nsa-quiz-verdict", "Not answered yet.");
  const said = element("p", `nsa-quiz-verdict ${chosen.right ? "nsa-right" : "nsa-hint"}`, chosen.because);
  said.prepend(plain("strong", "", chosen.right ? "✓ Right, because " : "○ Not this one: "));
  return said;
}

let questions = 0;

function render({ model, el }) {
  const name = `nsa-quiz-${(questions += 1)}`;
  const box = plain("fieldset", "nsa-quiz", "");
  box.append(element("legend", "nsa-quiz-question", model.get("question")));
  const code = plain("div", "", "");
  const answers = plain("div", "nsa-quiz-options", "");
  const said = plain("div", "", "");
  said.setAttribute("aria-live", "polite");
  model.get("options").forEach((option, at) => {
    const label = plain("label", "nsa-quiz-option", "");
    const radio = Object.assign(document.createElement("input"), { type: "radio", name, value: at });
    radio.addEventListener("change", () => {
      model.set("chosen", at);
      model.save_changes();
    });
    label.append(radio, model.get("code") ? plain("code", "", option.text) : element("span", "", option.text));
    answers.append(label);
  });
  const show = () => {
    code.replaceChildren(...(model.get("code") ? [program(model)] : []));
    said.replaceChildren(verdict(model));
    answers.querySelectorAll("input").forEach((radio, at) => (radio.checked = at === model.get("chosen")));
  };
  model.on("change:chosen", show);
  show();
  box.append(code, answers, said);
  el.append(box);
}

export default { render };
