// A guided tour of a minute: each stop says one thing, does it on request, and goes on when it has happened.

import { h, iconButton } from "./dom.js";
import { leaveHint } from "./hint.js";

/** A stop waits this long for what it did; then one goes on by hand. */
const DONE_MS = 15_000;

const KEY = "tea";

/** Where a stop points at, what it says, and what its button does. `done` tells whether that has happened. */
function stops(page) {
  const { client } = page;
  const say = (text) => () => client.say(text);
  const answered = (words) => () => client.log?.messages.some((message) => message.author.bot && words.test(`${message.content} ${message.embeds?.[0]?.description ?? ""}`));
  const name = client.view.bot.username;
  return [
    { title: "A minute with " + name, text: "This is a chat like Discord, on your machine alone. The bot in it is the real one, with a real store. Nothing leaves this computer.", point: "#messages" },
    { title: "Tell it something", text: `Whatever you tell ${name} is kept for everybody in this server.`, line: `.remember ${KEY} is Earl Grey, two minutes`, point: "#composer", act: say(`.remember ${KEY} is Earl Grey, two minutes`), done: answered(/remember `?tea|already remember/iu) },
    { title: "Ask for it", text: "Anybody here may ask, today or in a year.", line: `.rem ${KEY}`, point: "#composer", act: say(`.rem ${KEY}`), done: answered(/Earl Grey/u) },
    { title: "Or let it guess", text: "A slash lists every command, with hints for each option. Arrows choose, Tab takes, Enter sends.", line: "/rem get", point: "#composer", act: () => page.composer.command("rem get"), label: "Show me" },
    { title: "Look behind the scenes", text: "Each answer shows its way: the event, the requests to the store with their conditions and cost, and the reply with the nonce that makes it one.", point: "#backstage", enter: () => page.toggleBackstage(true) },
    { title: "Break something", text: "Now replies get lost on the way, from the store and from Discord. Say it again and look: it is written once, and answered once.", line: `.remember cake is at four`, point: "#backstage", act: async () => (await client.ask({ make: { switch: "lost", on: true } }), client.say(".remember cake is at four")), done: answered(/remember `?cake|already remember/iu) },
    { title: "And mend it", text: "The switches stay where you find them now. There is an Undo under every change, and a history behind every key.", point: "#backstage", enter: () => client.ask({ make: { switch: "lost", on: false } }) },
    { title: "Be somebody else", text: "Down in the corner you choose who speaks. Open a second tab, and talk to yourself.", point: "#me" },
  ];
}

export class Tour {
  #page;
  #stops = [];
  #place = 0;
  #panel;
  #timer;
  #pointed;
  #back;

  constructor(page) {
    this.#page = page;
    page.client.on("log", () => this.#look());
    page.client.on("arrived", () => this.end());
  }

  start() {
    if (this.#panel) return this.#panel.focus();
    this.#back = document.activeElement;
    leaveHint(this.#page);
    const home = this.#page.client.view.guilds[0]?.channels[0];
    if (home && !this.#page.client.here.guild) this.#page.go(home.id);
    this.#stops = stops(this.#page);
    this.#panel = h("section", { class: "tour", role: "dialog", "aria-labelledby": "tour-title", "aria-describedby": "tour-text", tabindex: "-1" });
    this.#panel.addEventListener("keydown", (event) => event.key === "Escape" && (event.stopPropagation(), this.end()));
    document.body.append(this.#panel);
    this.#go(0);
  }

  end() {
    if (!this.#panel) return;
    clearTimeout(this.#timer);
    this.#unpoint();
    this.#panel.remove();
    this.#panel = undefined;
    if (this.#back?.isConnected) this.#back.focus();
    else this.#page.composer.focus();
  }

  #go(place) {
    if (place >= this.#stops.length) return this.end();
    clearTimeout(this.#timer);
    this.#place = place;
    const stop = this.#stops[place];
    stop.enter?.();
    this.#point(stop.point);
    this.#draw(stop);
  }

  #draw(stop, state = "fresh") {
    const last = this.#place === this.#stops.length - 1;
    const back = this.#place > 0 ? h("button", { type: "button", class: "control secondary", click: () => this.#go(this.#place - 1) }, "Back") : null;
    const next = h("button", { type: "button", class: stop.act && state === "fresh" ? "control secondary" : "control primary", "data-tour": "next", click: () => this.#go(this.#place + 1) }, last ? "Done" : stop.act && state === "fresh" ? "Skip" : "Next");
    const act = stop.act && state === "fresh" ? h("button", { type: "button", class: "control primary", "data-tour": "act", click: () => this.#act(stop) }, stop.label ?? "Say it") : null;
    this.#panel.replaceChildren(
      h("header", null, h("h2", { id: "tour-title" }, stop.title), iconButton("close", "End the tour", () => this.end())),
      h("div", { id: "tour-text" }, h("p", null, stop.text), stop.line ? h("p", null, h("code", null, stop.line)) : null),
      h("footer", null, h("span", { class: "tour-place" }, state === "waiting" ? "Waiting for the answer…" : `${this.#place + 1} of ${this.#stops.length}`), back, next, act),
    );
    (act ?? next).focus({ preventScroll: true });
  }

  async #act(stop) {
    this.#draw(stop, "waiting");
    if (!(await this.#page.attempt(stop.act()))) return this.#draw(stop);
    if (!stop.done) return this.#page.composer.focus();
    this.#timer = setTimeout(() => this.#panel && this.#draw(stop, "done"), DONE_MS);
    this.#look();
  }

  /** Goes on once what was asked for has been answered; the reader still presses Next. */
  #look() {
    const stop = this.#stops[this.#place];
    if (!this.#panel || !stop?.done || !this.#panel.querySelector(".tour-place")?.textContent.startsWith("Waiting")) return;
    if (!stop.done()) return;
    clearTimeout(this.#timer);
    this.#draw(stop, "done");
  }

  #point(selector) {
    this.#unpoint();
    this.#pointed = document.querySelector(selector);
    this.#pointed?.classList.add("pointed");
  }

  #unpoint() {
    this.#pointed?.classList.remove("pointed");
  }
}
