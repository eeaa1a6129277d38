// The list above the input line: commands, people, channels, choices. The focus stays in the input;
// `aria-activedescendant` tells which entry is meant.

import { h } from "./dom.js";

export class Suggestions {
  #panel;
  #items = [];
  #active = -1;
  #input;

  constructor(panel) {
    this.#panel = panel;
    // Pressing an entry must not take the focus out of the input.
    panel.addEventListener("mousedown", (event) => event.preventDefault());
  }

  get open() {
    return !this.#panel.hidden && this.#items.length > 0;
  }

  get active() {
    return this.#items[this.#active];
  }

  /** Items are `{label, run, detail?, hint?, node?, args?}`. `title` and `help` stand above them. */
  show(input, items, { title, help, empty, active = 0 } = {}) {
    this.hide();
    if (!items.length && !help && !empty) return;
    this.#input = input;
    this.#items = items;
    const list = h("div", { class: "suggestion-list", role: "listbox", tabindex: "-1", id: "suggestion-list", "aria-label": title ?? "Suggestions" }, items.map((item, place) => this.#entry(item, place)));
    const head = title || help ? h("div", { class: "suggestion-head" }, title ? h("b", null, title) : null, help ? h("span", { id: "suggestion-help" }, help) : null) : null;
    this.#panel.replaceChildren(...[head, items.length || !empty ? list : h("div", { class: "suggestion-empty", role: "status" }, empty)].filter(Boolean));
    this.#panel.hidden = false;
    input.setAttribute("aria-controls", "suggestion-list");
    if (input.role === "combobox") input.setAttribute("aria-expanded", String(items.length > 0));
    if (help) input.setAttribute("aria-describedby", "suggestion-help");
    this.#activate(items.length ? active : -1);
  }

  hide() {
    this.#panel.hidden = true;
    this.#panel.replaceChildren();
    this.#items = [];
    this.#active = -1;
    this.#input?.removeAttribute("aria-activedescendant");
    if (this.#input?.role === "combobox") this.#input.setAttribute("aria-expanded", "false");
    this.#input = undefined;
  }

  /** Takes the keys that belong to the list; true if this was one. */
  key(event) {
    if (!this.open || event.isComposing) return false;
    const page = 6;
    const step = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page }[event.key];
    if (step) {
      const { length } = this.#items;
      const next = this.#active + step;
      this.#activate(Math.abs(step) === 1 ? (next + length) % length : Math.max(0, Math.min(length - 1, next)));
      return true;
    }
    if ((event.key === "Tab" && !event.shiftKey) || (event.key === "Enter" && !event.shiftKey)) {
      if (!this.active) return false;
      this.active.run(event.key);
      return true;
    }
    if (event.key === "Escape") {
      this.hide();
      return true;
    }
    return false;
  }

  #entry(item, place) {
    return h(
      "div",
      { class: "suggestion", role: "option", id: `suggestion-${place}`, "aria-selected": "false", click: () => item.run("click"), mousemove: () => this.#activate(place, false) },
      item.node,
      h("span", { class: "suggestion-text" }, h("span", { class: "suggestion-label" }, item.label, item.args), item.detail ? h("small", null, item.detail) : null),
      item.hint ? h("span", { class: "suggestion-hint" }, item.hint) : null,
    );
  }

  #activate(place, scroll = true) {
    if (place === this.#active) return;
    const option = (index) => this.#panel.querySelector(`#suggestion-${index}`);
    option(this.#active)?.setAttribute("aria-selected", "false");
    this.#active = place;
    const element = option(place);
    if (!element) return this.#input?.removeAttribute("aria-activedescendant");
    element.setAttribute("aria-selected", "true");
    if (scroll) element.scrollIntoView({ block: "nearest" });
    this.#input.setAttribute("aria-activedescendant", element.id);
  }
}
