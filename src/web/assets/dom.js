// Makes elements. Text always becomes text nodes: there is no way to pass HTML in.

const SVG = "http://www.w3.org/2000/svg";

/** An element with attributes (functions become listeners) and children (strings become text). */
export function h(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function fill(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (typeof value === "function") element.addEventListener(name, value);
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child || child === 0));
  return element;
}

// Drawn on a grid of 24, stroked; a letter of its own class where one is filled.
const ICONS = {
  at: "M16 12a4 4 0 1 1-8 0 4 4 0 0 1 8 0v1.5a2.5 2.5 0 0 0 5 0V12a9 9 0 1 0-3.6 7.2",
  hash: "M5 9h15M4 15h15M10 4 8 20M16 4l-2 16",
  reply: "M9 7 4 12l5 5M4 12h9a7 7 0 0 1 7 7",
  pencil: "M4 20l1-5L16 4l4 4L9 19l-5 1M14 6l4 4",
  trash: "M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13M10.5 11v5M13.5 11v5",
  copy: "M9 9h11v11H9zM15 9V4H4v11h5",
  dots: "M5 12h.01M12 12h.01M19 12h.01",
  plus: "M12 5v14M5 12h14",
  close: "M6 6l12 12M18 6 6 18",
  menu: "M4 7h16M4 12h16M4 17h16",
  people: "M9 11.5a3.5 3.5 0 1 0 0-7 3.5 3.5 0 0 0 0 7M2.5 20a6.5 6.5 0 0 1 13 0M16 5a3.4 3.4 0 0 1 0 6.400M18 14.500a6.5 6.5 0 0 1 3.5 5.5",
  send: "M4 12 20 4l-5 16-3.5-6.500L4 12M11.5 13.5 20 4",
  down: "M6 9l6 6 6-6",
  up: "M6 15l6-6 6 6",
  smile: "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18M8.5 14a4 4 0 0 0 7 0M9 9.500h.01M15 9.500h.01",
  file: "M6 3h8l4 4v14H6zM14 3v4h4",
  slash: "M4 4h16v16H4zM14 8l-4 8",
  eye: "M2.5 12S6 5.5 12 5.5 21.5 12 21.5 12 18 18.5 12 18.5 2.5 12 2.5 12M12 15a3 3 0 1 0 0-6 3 3 0 0 0 0 6",
  search: "M10.5 17a6.5 6.5 0 1 0 0-13 6.5 6.5 0 0 0 0 13M15.5 15.5 20 20",
  check: "M5 12.5 10 17.5 19.5 7",
  link: "M10 14 20 4M13 4h7v7M18 14v6H4V6h6",
  spark: "M12 3l2 7 7 2-7 2-2 7-2-7-7-2 7-2z",
  chat: "M4 5h16v11H10l-5 4v-4H4z",
};

/** A decorative icon; the button around it carries the label. */
export function icon(name) {
  const svg = document.createElementNS(SVG, "svg");
  const path = document.createElementNS(SVG, "path");
  path.setAttribute("d", ICONS[name]);
  svg.setAttribute("viewBox", "0 0 24 24");
  svg.setAttribute("class", `icon icon-${name}`);
  svg.setAttribute("aria-hidden", "true");
  svg.append(path);
  return svg;
}

/** A button that shows only an icon; its label is read out and shown as a tip. */
export function iconButton(name, label, click, attributes = {}) {
  return h("button", { type: "button", class: "icon-button", "aria-label": label, title: label, click, ...attributes }, icon(name));
}

/** How many gradients the style sheet has for people and servers without a picture. */
const TONES = 8;

/** Always the same tone for the same id. */
export function tone(id) {
  let sum = 0;
  for (const digit of String(id)) sum = (sum * 31 + digit.charCodeAt(0)) % 9973;
  return `tone-${sum % TONES}`;
}

export function initials(name) {
  const words = name.trim().split(/[\s_-]+/u).filter(Boolean);
  return words.slice(0, 2).map((word) => [...word][0].toUpperCase()).join("") || "?";
}

/** The round picture of a person; the bot has the program's mark. */
export function avatar(user, size = "") {
  if (user.bot) return h("img", { class: `avatar ${size}`, src: "/assets/icon.svg", alt: "", draggable: "false" });
  return h("span", { class: `avatar ${size} ${tone(user.id)}`, "aria-hidden": "true" }, initials(user.global_name ?? user.username));
}

/** Lets the arrow keys, Home and End walk through the matching elements inside `container`. */
export function arrowKeys(container, selector) {
  container.addEventListener("keydown", (event) => {
    const step = { ArrowDown: 1, ArrowRight: 1, ArrowUp: -1, ArrowLeft: -1 }[event.key];
    if (!step && event.key !== "Home" && event.key !== "End") return;
    const all = [...container.querySelectorAll(selector)];
    const here = all.indexOf(document.activeElement);
    if (here < 0) return;
    const next = event.key === "Home" ? 0 : event.key === "End" ? all.length - 1 : (here + step + all.length) % all.length;
    all[next].focus();
    event.preventDefault();
    event.stopPropagation();
  });
}
