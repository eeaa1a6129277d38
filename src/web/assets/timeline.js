// The conversation. Only a window of the messages is in the document, so that a channel of thousands
// scrolls as one of fifty does; what scrolls out on one side makes room on the other.

import { avatar, h, icon } from "./dom.js";
import { messageElement, thinking, toolbar } from "./message.js";
import { dayName } from "./words.js";
import { older } from "./client.js";

/** Messages in the document at most. */
const WINDOW = 120;

/** Messages added when the reader comes near an end of the window. */
const STEP = 40;

/** How near that is. */
const NEAR_PX = 500;

/** Within this distance of the end, new messages keep scrolling into view. */
const STICK_PX = 48;

/** Messages of one person within seven minutes stand under one name. */
const GROUP_MS = 7 * 60_000;

export class Timeline {
  #page;
  #client;
  #scroll;
  #list;
  #present;
  #elements = new Map();
  #first = null;
  #last = null;
  #stick = true;
  #behind = 0;
  #foot;
  #shownHead = null;
  #frame;

  constructor(page, { scroll, list, present }) {
    this.#page = page;
    this.#client = page.client;
    this.#scroll = scroll;
    this.#list = list;
    this.#present = present;
    scroll.addEventListener("scroll", () => this.#scrolled(), { passive: true });
    present.addEventListener("click", () => this.toPresent());
    for (const arrival of ["pointerover", "focusin"]) list.addEventListener(arrival, ({ target }) => this.#equip(target));
    // Pictures that load and windows that change keep the end in view.
    const settle = new ResizeObserver(() => this.#stick && this.#toEnd());
    settle.observe(list);
    settle.observe(scroll);
    this.#client.on("place", () => this.#opened());
    this.#client.on("view", () => this.#redraw());
    this.#client.on("log", (change) => this.#changed(change));
    document.addEventListener("visibilitychange", () => this.#read());
  }

  /** An element that stays under the last message, such as the hint of a first visit. */
  set foot(element) {
    this.#foot = element;
    this.draw();
  }

  #opened() {
    this.#follow();
    this.#redraw();
  }

  /** Names may have changed: no element is worth keeping. */
  #redraw() {
    this.#elements.clear();
    this.draw();
  }

  #changed({ channel, added, own }) {
    if (channel !== this.#client.channel) return;
    // Whoever speaks wants to see what comes of it.
    if (own) this.#follow();
    else if (added && !this.#stick) this.#behind++;
    this.#drawSoon();
    if (added) this.#page.announce(added);
  }

  // The window.

  get #messages() {
    return this.#client.log?.messages ?? [];
  }

  #place(id) {
    const messages = this.#messages;
    let low = 0;
    let high = messages.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (older(messages[middle].id, id)) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  /** Where the window begins and ends among the loaded messages. */
  #range() {
    const { length } = this.#messages;
    const to = this.#last === null ? length : Math.min(length, this.#place(this.#last) + 1);
    let from = this.#first === null ? Math.max(0, to - STEP) : this.#place(this.#first);
    if (this.#last === null && this.#stick) from = Math.max(from, to - WINDOW);
    return [from, to];
  }

  #setRange(from, to) {
    const messages = this.#messages;
    this.#first = messages[from]?.id ?? null;
    this.#last = to >= messages.length ? null : messages[to - 1].id;
  }

  #scrolled() {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroll;
    const left = scrollHeight - scrollTop - clientHeight;
    this.#stick = this.#last === null && left < STICK_PX;
    if (this.#stick) this.#behind = 0;
    else this.#first ??= this.#messages[this.#range()[0]]?.id ?? null;
    if (scrollTop < NEAR_PX) this.#upwards();
    else if (left < NEAR_PX && this.#last !== null) this.#downwards();
    this.#showPresent(left);
    this.#read();
  }

  #upwards() {
    const [from, to] = this.#range();
    if (from === 0) {
      const { log } = this.#client;
      if (!log?.loaded || log.complete || log.loading) return;
      this.#first ??= this.#messages[0]?.id ?? null;
      this.#client.older(this.#client.channel);
      return;
    }
    const next = Math.max(0, from - STEP);
    if (this.#stick && to - next > WINDOW) return;
    this.#setRange(next, Math.min(to, next + WINDOW));
    this.draw();
  }

  #downwards() {
    const [from, to] = this.#range();
    const next = Math.min(this.#messages.length, to + STEP);
    this.#setRange(Math.max(from, next - WINDOW), next);
    this.draw();
  }

  toPresent() {
    this.#follow();
    this.draw();
  }

  #follow() {
    this.#first = this.#last = null;
    this.#stick = true;
    this.#behind = 0;
  }

  /** Scrolls to a message that is loaded, and lights it up. */
  show(id) {
    const place = this.#place(id);
    if (this.#messages[place]?.id !== id) return false;
    const [from, to] = this.#range();
    if (place < from || place >= to) {
      const next = Math.max(0, place - STEP);
      this.#setRange(next, Math.min(this.#messages.length, next + WINDOW));
      this.draw();
    }
    const element = this.#elements.get(id).element;
    this.#stick = false;
    element.scrollIntoView({ block: "center" });
    element.classList.remove("lit");
    requestAnimationFrame(() => element.classList.add("lit"));
    return true;
  }

  #read() {
    if (this.#stick && !document.hidden && this.#client.log?.loaded) this.#client.markRead();
  }

  #showPresent(left) {
    const away = this.#last !== null || left > this.#scroll.clientHeight;
    this.#present.hidden = !away && this.#behind === 0;
    const count = this.#behind;
    this.#present.lastChild.textContent = count ? `${count} new ${count === 1 ? "message" : "messages"}` : "Jump to present";
  }

  #toEnd() {
    this.#scroll.scrollTop = this.#scroll.scrollHeight;
  }

  // Drawing.

  /** Many messages may arrive between two pictures; they are drawn together. */
  #drawSoon() {
    this.#frame ??= requestAnimationFrame(() => this.draw());
  }

  draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = undefined;
    if (!this.#client.here) return this.#list.replaceChildren();
    const [from, to] = this.#range();
    // A reader further up keeps the messages in view; those that arrive wait below the window.
    if (!this.#stick && this.#last === null && to - from > WINDOW) this.#setRange(from, from + WINDOW);
    const anchor = this.#stick ? null : this.#anchor();
    this.#reconcile(this.#nodes(...this.#range()));
    if (anchor?.element.isConnected) this.#scroll.scrollTop += anchor.element.getBoundingClientRect().top - anchor.top;
    if (this.#stick) this.#toEnd();
    const { scrollTop, scrollHeight, clientHeight } = this.#scroll;
    this.#showPresent(scrollHeight - scrollTop - clientHeight);
    this.#read();
    // No scroll event comes when a page was added above, nor when the window does not fill the screen.
    if (scrollTop < NEAR_PX) this.#upwards();
  }

  /** The first message in view, and where it is. */
  #anchor() {
    const edge = this.#scroll.getBoundingClientRect().top;
    for (const element of this.#list.querySelectorAll("[data-message]")) {
      const box = element.getBoundingClientRect();
      if (box.bottom > edge) return { element: element, top: box.top };
    }
    return null;
  }

  #nodes(from, to) {
    const { log } = this.#client;
    const messages = this.#messages;
    const nodes = [];
    const used = new Map();
    if (log?.loaded && from === 0 && log.complete) nodes.push(this.#head());
    for (let place = from; place < to; place++) {
      const message = messages[place];
      const before = messages[place - 1];
      const day = new Date(message.timestamp).toDateString();
      const newDay = !before || new Date(before.timestamp).toDateString() !== day;
      const unread = log.marker && older(log.marker, message.id) && (!before || !older(log.marker, before.id));
      if (newDay) nodes.push(this.#rule(`day-${day}`, dayName(new Date(message.timestamp))));
      if (unread) nodes.push(this.#rule("unread", "New", "new-rule"));
      const follows = !newDay && !unread && this.#follows(before, message);
      nodes.push(this.#element(message, follows, used));
    }
    if (to === messages.length) {
      for (const pending of this.#client.pending) if (pending.channel === this.#client.channel) nodes.push(this.#pending(pending));
      // The examples are about memories, and those belong to servers.
      if (this.#foot && this.#client.here.guild) nodes.push(this.#foot);
    }
    this.#elements = used;
    return nodes;
  }

  #follows(before, message) {
    if (!before || before.author.id !== message.author.id) return false;
    if (message.type !== 0 || message.interaction_metadata || ((before.flags ^ message.flags) & 64) !== 0) return false;
    return new Date(message.timestamp) - new Date(before.timestamp) < GROUP_MS;
  }

  #element(message, follows, used) {
    const presses = [...this.#client.presses.values()].filter((press) => press.message === message.id).map((press) => press.customId);
    const key = `${follows} ${presses} ${this.#client.failedPresses.get(message.id) ?? ""}`;
    let known = this.#elements.get(message.id);
    if (known?.message !== message || known.key !== key) {
      const element = messageElement(message, this.#page, follows);
      if (known) keepFocus(known.element, element);
      known = { message, key, element };
    }
    used.set(message.id, known);
    return known.element;
  }

  #rules = new Map();

  #rule(key, text, extra = "") {
    const cached = this.#rules.get(`${key}${text}`);
    if (cached) return cached;
    const rule = h("li", { class: `rule ${extra}` }, h("span", null, text));
    this.#rules.set(`${key}${text}`, rule);
    return rule;
  }

  #head() {
    const { here } = this.#client;
    if (this.#shownHead?.channel === here) return this.#shownHead.element;
    const title = here.guild ? `Welcome to #${here.name}` : here.name;
    const text = here.guild ? `This is where #${here.name} in ${here.guild.name} begins.` : "Your direct messages with the bot. In here the whole message is the command: no prefix needed.";
    const element = h("li", { class: "head" }, here.guild ? h("span", { class: "head-sign" }, icon("hash")) : avatar(this.#client.view.bot, "large"), h("h3", null, title), h("p", null, here.topic || text));
    this.#shownHead = { channel: here, element };
    return element;
  }

  #pending(pending) {
    const bot = this.#client.view.bot;
    const name = this.#client.nameOf(bot.id);
    const failed = pending.state === "failed";
    const gone = () => this.#client.dropPending(pending);
    const body = failed
      ? [
          h("div", { class: "failure", role: "alert" }, "The application did not respond"),
          h("div", { class: "only-you" }, icon("eye"), "Only you can see this • ", asLink("Try again", () => this.#page.attempt(pending.retry())), " • ", asLink("Dismiss message", gone)),
        ]
      : pending.state === "thinking"
        ? thinking(name)
        : h("div", { class: "text thinking" }, "Sending command…");
    return h(
      "li",
      { class: failed ? "message ephemeral" : "message", "data-pending": pending.key },
      h("div", { class: "origin" }, avatar(this.#client.me, "tiny"), h("b", null, this.#client.nameOf(this.#client.me.id)), " used ", h("span", { class: "mention" }, pending.name)),
      h("span", { class: "face" }, avatar(bot)),
      h("div", { class: "content" }, h("div", { class: "byline" }, h("span", { class: "author is-bot" }, name), h("span", { class: "tag" }, "APP")), body),
    );
  }

  /** Makes the list hold exactly these nodes, touching as few as it can. */
  #reconcile(nodes) {
    const wanted = new Set(nodes);
    for (const child of [...this.#list.children]) if (!wanted.has(child)) child.remove();
    nodes.forEach((node, place) => {
      const there = this.#list.children[place];
      if (there !== node) this.#list.insertBefore(node, there ?? null);
    });
    restoreFocus();
    this.#stop();
  }

  /** One message is a stop for Tab; the arrows go on from there. */
  #stop() {
    const all = this.#list.querySelectorAll("[data-message]");
    const stop = document.activeElement.closest("[data-message]") ?? all[all.length - 1];
    for (const element of all) element.tabIndex = element === stop ? 0 : -1;
  }

  /** Gives a message its toolbar. */
  #equip(target) {
    const row = target.closest("[data-message]");
    const known = row && this.#elements.get(row.dataset.message);
    if (known?.element !== row || row.querySelector(":scope > .toolbar")) return;
    const bar = toolbar(known.message, this.#page);
    if (bar) row.append(bar);
  }

  // The keyboard.

  /** Moves the focus among messages. */
  walk(step) {
    const all = [...this.#list.querySelectorAll("[data-message]")];
    const here = all.indexOf(document.activeElement?.closest("[data-message]"));
    const next = here < 0 ? all.at(-1) : all[Math.max(0, Math.min(all.length - 1, here + step))];
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  }

  focused() {
    const id = document.activeElement?.closest("[data-message]")?.dataset.message;
    return id ? this.#messages.find((message) => message.id === id) : undefined;
  }
}

function asLink(label, click) {
  return h("button", { type: "button", class: "as-link", click }, label);
}

let refocus;

/** A message that is drawn anew while the focus is inside keeps it, on the same control. */
function keepFocus(before, after) {
  if (!before.contains(document.activeElement)) return;
  const mark = document.activeElement.dataset.focus;
  refocus = (mark && [...after.querySelectorAll("[data-focus]")].find((element) => element.dataset.focus === mark)) || after;
}

function restoreFocus() {
  const element = refocus;
  refocus = undefined;
  if (element?.isConnected) element.focus({ preventScroll: true });
}
