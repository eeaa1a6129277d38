// What a first visitor sees: two lines to try.

import { h, icon, iconButton } from "./dom.js";

const SEEN = "mneme.hint";

const EXAMPLES = [
  [".remember meeting is tomorrow at 10", "Tell me something"],
  [".rem meeting", "Ask for it"],
];

/** The hint as an element, or nothing for who has seen it. */
export function hint(page) {
  if (stored()) return null;
  const done = () => {
    leaveHint(page);
    page.composer.focus();
  };
  const example = ([line, what]) => {
    const button = h("button", { type: "button", class: "example" }, h("span", null, what), h("code", null, line), icon("send"));
    button.addEventListener("click", async () => {
      if (!(await page.attempt(page.client.say(line)))) return;
      button.classList.add("done");
      button.lastChild.replaceWith(icon("check"));
      if ([...button.parentElement.querySelectorAll(".example")].every((other) => other.classList.contains("done"))) store();
    });
    return button;
  };
  const name = page.client.view.bot.username;
  return h(
    "li",
    { class: "hint" },
    h("div", { class: "hint-title" }, h("b", null, `This is ${name}: it remembers what you tell it.`), iconButton("close", "Close this hint", done)),
    h("p", null, "Press a line to say it, or type your own. ", h("kbd", null, "/"), " lists all commands; the menu of a message has more."),
    h("div", { class: "examples" }, EXAMPLES.map(example)),
    h("p", { class: "hint-tour" }, "Or ", h("button", { type: "button", class: "as-link", click: () => page.tour.start() }, "take the tour"), ": it lasts a minute."),
  );
}

/** Takes the hint away for good. */
export function leaveHint(page) {
  store();
  page.timeline.foot = null;
}

function stored() {
  try {
    return localStorage.getItem(SEEN) !== null;
  } catch {
    return false;
  }
}

function store() {
  try {
    localStorage.setItem(SEEN, "seen");
  } catch {
    // Without storage the hint comes again; that harms nobody.
  }
}
