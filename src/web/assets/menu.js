// Menus in the top layer: context menus, select lists, the emoji tray. Light dismissal and Escape come
// with `popover`; arrows, letters and focus are ours.

import { h, icon } from "./dom.js";

/** Space kept between a menu and the window's edge. */
const MARGIN = 8;

let current;

/**
 * Opens a menu beside `anchor`: an element, or `{x, y}`. Entries are `{label, run}` with optional `icon`,
 * `emoji`, `detail`, `danger`, `hint`, `checked`; `{toggle}` stays open; `{heading}`, `{rule}` and `{tray}`.
 */
export function openMenu(anchor, entries, { label, role = "menu" } = {}) {
  current?.hidePopover();
  const back = document.activeElement;
  const menu = h("div", { class: "menu", popover: "auto", role, "aria-label": label });
  menu.append(...entries.filter(Boolean).map((entry) => part(entry, menu, role)));
  document.body.append(menu);
  menu.addEventListener("keydown", (event) => walk(event, menu));
  menu.addEventListener("toggle", (event) => {
    if (event.newState !== "closed") return;
    const held = menu.contains(document.activeElement) || document.activeElement === document.body;
    menu.remove();
    if (current === menu) current = undefined;
    if (held && back?.isConnected) back.focus();
  });
  menu.showPopover();
  current = menu;
  place(menu, anchor);
  (menu.querySelector("[aria-checked=true], [aria-selected=true]") ?? menu.querySelector("button"))?.focus();
  return menu;
}

function part(entry, menu, role) {
  if (entry.rule) return h("hr");
  if (entry.heading) return h("div", { class: "menu-heading", role: "presentation" }, entry.heading);
  if (entry.tray) return h("div", { class: "tray", role: "group", "aria-label": "Reactions" }, entry.tray.map((emoji) => trayButton(emoji, entry.run, menu)));
  const listed = role === "listbox";
  const state = listed ? "aria-selected" : "aria-checked";
  const item = h(
    "button",
    {
      type: "button",
      role: listed ? "option" : entry.checked === undefined ? "menuitem" : "menuitemradio",
      class: entry.danger ? "menu-item danger" : "menu-item",
      tabindex: "-1",
      [state]: entry.checked === undefined && !listed ? null : String(Boolean(entry.checked)),
    },
    entry.node ?? (entry.icon ? icon(entry.icon) : null),
    entry.emoji ? h("span", { class: "emoji" }, entry.emoji) : null,
    h("span", { class: "menu-label" }, entry.label, entry.detail ? h("small", null, entry.detail) : null),
    entry.hint ? h("kbd", null, entry.hint) : null,
    icon("check"),
  );
  item.addEventListener("click", () => {
    if (entry.toggle) return item.setAttribute(state, String(entry.toggle()));
    menu.hidePopover();
    entry.run();
  });
  return item;
}

function trayButton(emoji, run, menu) {
  return h("button", { type: "button", class: "tray-button", role: "menuitem", tabindex: "-1", "aria-label": `React with ${emoji}`, click: () => (menu.hidePopover(), run(emoji)) }, emoji);
}

function walk(event, menu) {
  const items = [...menu.querySelectorAll("button")];
  const here = items.indexOf(document.activeElement);
  const step = { ArrowDown: 1, ArrowUp: -1, ArrowRight: 1, ArrowLeft: -1, Tab: event.shiftKey ? -1 : 1 }[event.key];
  let next;
  if (step) next = items[(here + step + items.length) % items.length];
  else if (event.key === "Home") next = items[0];
  else if (event.key === "End") next = items.at(-1);
  else if (event.key.length === 1 && event.key !== " ") {
    const letter = event.key.toLowerCase();
    next = [...items.slice(here + 1), ...items].find((item) => item.textContent.trim().toLowerCase().startsWith(letter));
  }
  event.stopPropagation();
  if (!next) return;
  event.preventDefault();
  next.focus();
}

function place(menu, anchor) {
  const at = anchor instanceof Element ? anchor.getBoundingClientRect() : new DOMRect(anchor.x, anchor.y, 0, 0);
  const { width, height } = menu.getBoundingClientRect();
  const left = Math.min(at.left, innerWidth - width - MARGIN);
  const below = at.bottom + 4;
  const top = below + height + MARGIN <= innerHeight ? below : Math.max(MARGIN, at.top - height - 4);
  menu.style.left = `${Math.max(MARGIN, left)}px`;
  menu.style.top = `${Math.min(top, Math.max(MARGIN, innerHeight - height - MARGIN))}px`;
}
