// Markdown trees and times as elements.

import { h, icon } from "./dom.js";
import { clockText, onlyEmoji, parse, plainText } from "./markdown.js";

/** How often "3 minutes ago" is looked at again. */
const REFRESH_MS = 20_000;

setInterval(() => {
  for (const time of document.querySelectorAll("time[data-relative]")) time.textContent = clockText(Number(time.dataset.relative), "R");
}, REFRESH_MS);

/** Text as Discord shows it. */
export function words(source, client) {
  const body = render(parse(source), client);
  return onlyEmoji(source) ? h("span", { class: "jumbo" }, body) : body;
}

/** Text in one line, without its looks. */
export function oneLine(source, client) {
  return plainText(parse(source), {
    user: (id) => client.nameOf(id),
    role: (id) => client.role(id)?.name ?? "unknown",
    channel: (id) => client.channels.get(id)?.name ?? "unknown",
  });
}

const TAGS = { bold: "strong", italic: "em", underline: "u", strike: "s", quote: "blockquote", subtext: "small" };

function render(nodes, client) {
  return nodes.map((node) => element(node, client));
}

function element(node, client) {
  const inside = () => render(node.children, client);
  switch (node.type) {
    case "text":
      return node.text;
    case "heading":
      // The page has its own headings; those in messages start below them.
      return h(`h${node.level + 3}`, { class: `heading-${node.level}` }, inside());
    case "spoiler":
      return spoiler(inside());
    case "code":
      return h("code", null, node.text);
    case "block":
      return codeBlock(node);
    case "list":
      return h(node.ordered ? "ol" : "ul", { start: node.ordered ? node.start : null }, node.items.map((item) => h("li", null, render(item, client))));
    case "link":
      return link(node.url, inside());
    case "user":
      return h("button", { type: "button", class: "mention", "data-person": node.id }, `@${client.nameOf(node.id)}`);
    case "role":
      return h("span", { class: "mention" }, `@${client.role(node.id)?.name ?? "unknown-role"}`);
    case "channel":
      return channelMention(node.id, client);
    case "everyone":
      return h("span", { class: "mention" }, node.text);
    case "command":
      return h("button", { type: "button", class: "mention", "data-command": node.name }, `/${node.name}`);
    case "time":
      return clock(node.seconds, node.style);
    default:
      return h(TAGS[node.type], { class: node.type }, inside());
  }
}

function channelMention(id, client) {
  const channel = client.channels.get(id);
  if (!channel) return h("span", { class: "mention" }, "#unknown");
  return h("button", { type: "button", class: "mention", click: () => client.go(id) }, `#${channel.name}`);
}

/** A link that leaves the page; only web addresses come this far. */
export function link(url, children) {
  return h("a", { href: url, target: "_blank", rel: "noopener noreferrer" }, children);
}

function spoiler(children) {
  const inside = h("span", { class: "inside", inert: true }, children);
  const cover = h("span", { class: "spoiler", role: "button", tabindex: "0", "aria-label": "Spoiler: press to show" }, inside);
  const show = (event) => {
    if (cover.classList.contains("shown") || (event.key && event.key !== "Enter" && event.key !== " ")) return;
    event.preventDefault();
    event.stopPropagation();
    cover.classList.add("shown");
    inside.inert = false;
    for (const name of ["role", "tabindex", "aria-label"]) cover.removeAttribute(name);
  };
  cover.addEventListener("click", show);
  cover.addEventListener("keydown", show);
  return cover;
}

function codeBlock({ language, text }) {
  const code = h("code", null, language === "diff" ? text.split("\n").map(diffLine) : text);
  const copy = h("button", { type: "button", class: "copy", "aria-label": "Copy code", title: "Copy code" }, icon("copy"));
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText(text);
    copy.replaceChildren(icon("check"));
  });
  return h("div", { class: "code-block" }, h("pre", { tabindex: "0" }, code), copy);
}

function diffLine(line) {
  const kind = line.startsWith("@@") ? "hunk" : { "+": "added", "-": "removed" }[line[0]];
  return h("span", { class: kind ?? "same" }, `${line}\n`);
}

function clock(seconds, style) {
  const date = new Date(seconds * 1000);
  const valid = !Number.isNaN(date.getTime());
  return h(
    "time",
    { class: "stamp", datetime: valid ? date.toISOString() : null, title: clockText(seconds, "F"), "data-relative": style === "R" ? String(seconds) : null },
    clockText(seconds, style),
  );
}

const TIME = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const DAY = new Intl.DateTimeFormat(undefined, { dateStyle: "long" });
const NEAR = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });
const DAY_MS = 86_400_000;

/** When a message was sent: the time, and the day where it is not today. */
export function sentAt(iso) {
  const date = new Date(iso);
  const day = dayName(date);
  const today = date.toDateString() === new Date().toDateString();
  return h("time", { datetime: iso, title: clockText(date.getTime() / 1000, "F") }, today ? TIME.format(date) : `${day}, ${TIME.format(date)}`);
}

export function timeOnly(iso) {
  return TIME.format(new Date(iso));
}

/** "Today", "Yesterday", or the date. */
export function dayName(date) {
  const start = (time) => new Date(time).setHours(0, 0, 0, 0);
  const days = Math.round((start(date) - start(Date.now())) / DAY_MS);
  if (days !== 0 && days !== -1) return DAY.format(date);
  const name = NEAR.format(days, "day");
  return name[0].toUpperCase() + name.slice(1);
}
