// The page: puts the parts together, and owns the address, the keyboard and the notices.

import { Backstage } from "./backstage.js";
import { Client, EPHEMERAL, MANAGE_MESSAGES } from "./client.js";
import { Composer } from "./composer.js";
import { h, icon } from "./dom.js";
import { hint } from "./hint.js";
import { openMenu } from "./menu.js";
import { confirm, openForm } from "./modal.js";
import { dots } from "./message.js";
import { Sidebar, openSwitcher } from "./sidebar.js";
import { Suggestions } from "./suggestions.js";
import { Timeline } from "./timeline.js";
import { Tour } from "./tour.js";
import { oneLine, words } from "./words.js";

/** How long a notice stays; the longest has about fifteen words. */
const NOTICE_MS = 6_000;

/** How long a form waits for the application: it has three seconds, and the simulator is the judge. */
const FORM_MS = 10_000;

/** The drawers, and where the focus goes in each. */
const DRAWERS = { places: "channels", people: "members", backstage: "backstage" };

const REACTIONS = ["👍", "❤️", "😂", "🎉", "✨", "👀", "🤔", "✅"];

/** Below this width the lists are drawers. */
const NARROW = matchMedia("(max-width: 760px)");
const NO_MEMBERS = matchMedia("(max-width: 1060px)");

const part = (id) => document.getElementById(id);

class Page {
  client = new Client();
  sendButton = part("send");
  #live = part("live");
  #notice = part("notice");
  #noticeTimer;

  constructor() {
    const { client } = this;
    this.timeline = new Timeline(this, { scroll: part("scroll"), list: part("messages"), present: part("present") });
    this.sidebar = new Sidebar(this, { servers: part("servers"), channels: part("channels"), placeName: part("place-name"), me: part("me"), members: part("members"), speaker: part("speaker") });
    this.composer = new Composer(this, new Suggestions(part("suggestions")), {
      form: part("composer"),
      input: part("input"),
      strip: part("strip"),
      tray: part("files"),
      count: part("count"),
      attach: part("attach"),
      picker: part("picker"),
    });
    this.backstage = new Backstage(this, part("backstage"));
    this.tour = new Tour(this);
    client.on("arrived", () => this.#arrive());
    client.on("place", () => this.#moved());
    client.on("view", () => this.#drawBar());
    client.on("connection", () => this.#drawConnection());
    client.on("typing", () => this.#drawTyping());
    client.on("unread", () => this.#drawTitle());
    client.on("modal", (form) => this.#openForm(form));
    this.#listen();
    const [person, channel] = place();
    client.speakAs(person, channel);
  }

  // Places.

  #arrive() {
    const { client } = this;
    const known = client.channels.has(client.channel) ? client.channel : null;
    const first = client.view.guilds[0]?.channels[0]?.id ?? client.view.dms[0]?.id;
    const goal = known ?? first;
    this.#following = true;
    if (goal) client.go(goal);
    else this.attempt(client.home());
    this.timeline.foot = hint(this);
    if (!NARROW.matches) this.composer.focus();
  }

  go(channel) {
    if (channel !== this.client.channel) this.client.go(channel);
    this.closeDrawers();
    if (!NARROW.matches) this.composer.focus();
  }

  goServer(guild) {
    const last = this.#lastIn.get(guild.id) ?? guild.channels[0]?.id;
    if (!last || this.client.here.guild?.id === guild.id) return;
    this.client.go(last);
  }

  #lastIn = new Map();

  speakAs(person) {
    if (person === this.client.me.id) return;
    const { channel } = this.client;
    this.closeDrawers();
    this.client.speakAs(person, channel);
  }

  /** Set while the page goes where the address already points. */
  #following = false;

  /** The address holds person and channel, so that two tabs can be two people, and Back goes back. */
  #moved() {
    const { me, channel, here } = this.client;
    if (here.guild) this.#lastIn.set(here.guild.id, channel);
    const address = `#${me.id}/${channel}`;
    if (this.#following) history.replaceState(null, "", address);
    else if (address !== location.hash) history.pushState(null, "", address);
    this.#following = false;
    this.#drawBar();
  }

  #drawBar() {
    const { here } = this.client;
    if (!here) return;
    part("bar-icon").replaceChildren(icon(here.guild ? "hash" : "at"));
    part("bar-name").textContent = here.name;
    part("bar-topic").textContent = here.topic ?? "";
    part("messages").setAttribute("aria-label", `Messages in ${here.name}`);
    this.#drawTitle();
    this.#drawTyping();
    this.#drawConnection();
  }

  #drawTitle() {
    const { here, unread } = this.client;
    const count = [...unread.values()].reduce((sum, { mentions }) => sum + mentions, 0);
    const mark = count ? `(${count}) ` : unread.size ? "• " : "";
    if (here) document.title = `${mark}${here.guild ? "#" : ""}${here.name} · mneme playground`;
    part("menu-dot").hidden = !unread.size;
  }

  #drawConnection() {
    const { connection, view } = this.client;
    const banner = part("banner");
    const lost = connection === "lost";
    const offline = view && !view.bot_online;
    banner.hidden = !lost && !offline;
    banner.textContent = lost ? "The connection was lost. Trying again…" : offline ? `${view.bot.username} is offline; it answers when it is back.` : "";
  }

  #drawTyping() {
    const people = [...(this.client.typing.get(this.client.channel)?.keys() ?? [])].map((id) => this.client.nameOf(id));
    const text = people.length > 2 ? "Several people are typing…" : people.length ? `${people.join(" and ")} ${people.length > 1 ? "are" : "is"} typing…` : "";
    part("typing").replaceChildren(...(text ? [dots(), text] : []));
  }

  // What happens to messages.

  reply(message) {
    this.composer.reply(message);
  }

  edit(message) {
    this.composer.edit(message);
  }

  async remove(message) {
    const preview = h("div", { class: "quoted text" }, words(message.content || "(no text)", this.client));
    const sure = await confirm("Delete this message?", preview, "Delete");
    if (sure) await this.attempt(this.client.act("delete", { channel: message.channel_id, message: message.id }));
    this.composer.focus();
  }

  react(message, emoji) {
    const mine = message.reactions?.some((reaction) => reaction.emoji.name === emoji && reaction.me);
    return this.attempt(this.client.act("react", { channel: message.channel_id, message: message.id, emoji, remove: mine || undefined }));
  }

  reactMenu(message, anchor) {
    openMenu(anchor, [{ tray: REACTIONS, run: (emoji) => this.react(message, emoji) }], { label: "React" });
  }

  messageMenu(message, anchor) {
    const { client } = this;
    const mine = message.author.id === client.me.id;
    const ephemeral = message.flags & EPHEMERAL;
    const moderates = client.may(MANAGE_MESSAGES);
    openMenu(
      anchor,
      [
        ephemeral ? null : { tray: REACTIONS.slice(0, 6), run: (emoji) => this.react(message, emoji) },
        ephemeral ? null : { label: "Reply", icon: "reply", hint: "R", run: () => this.reply(message) },
        mine && !ephemeral ? { label: "Edit", icon: "pencil", hint: "E", run: () => this.edit(message) } : null,
        { label: "Copy text", icon: "copy", hint: "C", run: () => this.copy(message.content) },
        { label: "Copy ID", icon: "copy", run: () => this.copy(message.id) },
        this.backstage.knows(message) ? { label: "Behind the scenes", icon: "eye", run: () => (this.toggleBackstage(true), this.backstage.show(message)) } : null,
        client.menuCommands.length && !ephemeral ? { heading: "Apps" } : null,
        ...(ephemeral ? [] : client.menuCommands.map((command) => ({ label: command.name, icon: "spark", run: () => this.attempt(client.menu(message, command)) }))),
        ephemeral ? { label: "Dismiss", icon: "close", run: () => client.dismiss(message) } : null,
        (mine || moderates) && !ephemeral ? { rule: true } : null,
        (mine || moderates) && !ephemeral ? { label: "Delete message", icon: "trash", hint: "Del", danger: true, run: () => this.remove(message) } : null,
      ],
      { label: "Message actions" },
    );
  }

  show(id) {
    if (!this.timeline.show(id)) this.notice("That message is further up");
  }

  #openForm(form) {
    openForm(form, async (inputs) => {
      const { interaction } = await this.client.act("submit", { interaction: form.interaction, inputs });
      await this.#answered(interaction);
    });
  }

  /** Resolves when the application has answered an interaction. */
  #answered(interaction) {
    return new Promise((resolve, reject) => {
      const listener = ({ detail }) => {
        if (detail.interaction !== interaction) return;
        stop();
        if (detail.state === "failed") reject(new Error("Something went wrong. Try again."));
        else resolve();
      };
      const stop = () => {
        clearTimeout(timer);
        this.client.removeEventListener("interaction", listener);
      };
      const timer = setTimeout(() => {
        stop();
        reject(new Error("The application did not respond"));
      }, FORM_MS);
      this.client.addEventListener("interaction", listener);
    });
  }

  // Telling.

  /** Waits for an action and tells what is wrong with it; resolves to whether it worked. */
  async attempt(action) {
    try {
      await action;
      return true;
    } catch (error) {
      this.notice(error.message);
      return false;
    }
  }

  async copy(text) {
    if (await this.attempt(navigator.clipboard.writeText(text))) this.notice("Copied", "quiet");
  }

  notice(text, kind = "problem") {
    clearTimeout(this.#noticeTimer);
    this.#notice.className = `notice ${kind}`;
    this.#notice.textContent = text;
    this.#notice.hidden = false;
    this.#noticeTimer = setTimeout(() => (this.#notice.hidden = true), NOTICE_MS);
  }

  /** Reads a new message out; one's own one has just written. */
  announce(message) {
    if (message.author.id === this.client.me.id) return;
    const card = message.embeds?.[0];
    const text = [message.content, card?.title, card?.description].filter(Boolean).join(". ");
    this.#live.textContent = `${this.client.nameOf(message.author.id)}: ${oneLine(text, this.client)}`;
  }

  // Drawers, on narrow windows.

  openDrawer(name) {
    this.closeDrawers();
    document.body.dataset.drawer = name;
    this.#fence();
    part(DRAWERS[name]).querySelector("[aria-current], button")?.focus();
  }

  closeDrawers() {
    delete document.body.dataset.drawer;
    this.#fence();
  }

  /** What a drawer hides, or what is hidden in a closed drawer, cannot be reached. */
  #fence() {
    const open = document.body.dataset.drawer;
    part("places").inert = NARROW.matches && open !== "places";
    const backstage = document.body.classList.contains("with-backstage");
    part("people").inert = NO_MEMBERS.matches ? open !== "people" : backstage || document.body.classList.contains("no-members");
    part("backstage").inert = NO_MEMBERS.matches ? open !== "backstage" : !backstage;
    part("talk").inert = Boolean(open);
    part("open-places").setAttribute("aria-expanded", String(open === "places"));
    part("toggle-people").setAttribute("aria-expanded", String(!part("people").inert));
    part("toggle-backstage").setAttribute("aria-expanded", String(!part("backstage").inert));
    this.backstage.open = !part("backstage").inert;
  }

  /** The panel stands where the members are, or is a drawer. */
  toggleBackstage(open = part("backstage").inert) {
    if (open === !part("backstage").inert) return;
    if (NO_MEMBERS.matches) return open ? this.openDrawer("backstage") : this.closeDrawers();
    document.body.classList.toggle("with-backstage", open);
    this.#fence();
    if (!open && !part("talk").contains(document.activeElement)) part("toggle-backstage").focus();
  }

  #togglePeople() {
    if (NO_MEMBERS.matches) return document.body.dataset.drawer === "people" ? this.closeDrawers() : this.openDrawer("people");
    const { classList } = document.body;
    // Two panels on the right leave no room to talk: the members take the place back.
    if (classList.contains("with-backstage")) classList.remove("with-backstage", "no-members");
    else classList.toggle("no-members");
    this.#fence();
  }

  // The keyboard and the mouse.

  #listen() {
    part("open-places").addEventListener("click", () => this.openDrawer("places"));
    part("toggle-people").addEventListener("click", () => this.#togglePeople());
    part("toggle-backstage").addEventListener("click", () => this.toggleBackstage());
    part("start-tour").addEventListener("click", () => this.tour.start());
    part("shade").addEventListener("click", () => this.closeDrawers());
    part("open-switcher").addEventListener("click", () => openSwitcher(this));
    part("speaker").addEventListener("click", (event) => this.sidebar.peopleMenu(event.currentTarget));
    for (const query of [NARROW, NO_MEMBERS]) query.addEventListener("change", () => this.closeDrawers());
    this.#fence();
    addEventListener("popstate", () => this.#followAddress());
    document.addEventListener("keydown", (event) => this.#key(event));
    part("messages").addEventListener("contextmenu", (event) => this.#contextMenu(event));
    part("messages").addEventListener("click", (event) => this.#clicked(event));
    const talk = part("talk");
    talk.addEventListener("dragover", (event) => event.dataTransfer.types.includes("Files") && event.preventDefault());
    talk.addEventListener("drop", (event) => {
      event.preventDefault();
      this.composer.addFiles([...event.dataTransfer.files]);
    });
  }

  #followAddress() {
    const [person, channel] = place();
    if (!this.client.view) return;
    if (person && person !== this.client.me.id) this.client.speakAs(person, channel);
    else if (this.client.channels.has(channel) && channel !== this.client.channel) {
      this.#following = true;
      this.client.go(channel);
    }
  }

  #message(id) {
    return this.client.log?.messages.find((message) => message.id === id);
  }

  #contextMenu(event) {
    const row = event.target.closest("[data-message]");
    const message = row && this.#message(row.dataset.message);
    // Links, pictures and marked text keep the browser's own menu.
    if (!message || event.target.closest("a, img.card-image") || !getSelection().isCollapsed) return;
    event.preventDefault();
    const keyboard = event.clientX === 0 && event.clientY === 0;
    this.messageMenu(message, keyboard || event.button !== 2 ? row : { x: event.clientX, y: event.clientY });
  }

  #clicked(event) {
    const person = event.target.closest("[data-person]");
    if (person) return this.sidebar.personMenu(person.dataset.person, person);
    const command = event.target.closest("[data-command]");
    if (command) this.composer.command(command.dataset.command);
  }

  #key(event) {
    if (document.querySelector("dialog[open]") || !this.client.view || event.defaultPrevented || event.target.closest(".tour")) return;
    const control = event.ctrlKey || event.metaKey;
    if (control && event.key.toLowerCase() === "k") {
      event.preventDefault();
      return openSwitcher(this);
    }
    if (event.altKey && (event.key === "ArrowUp" || event.key === "ArrowDown")) {
      event.preventDefault();
      return this.#nextChannel(event.key === "ArrowDown" ? 1 : -1);
    }
    if (event.key === "Escape") return this.#escape();
    const message = this.timeline.focused();
    if (message && this.#messageKey(event, message)) return event.preventDefault();
    // Whatever else is typed, is meant for the input line.
    if (control || event.altKey || event.key.length !== 1 || event.target.closest("input, textarea, select, .menu, summary, .backstage")) return;
    if (event.key === " " && event.target.closest("button, a, [role=button]")) return;
    this.composer.focus();
  }

  #escape() {
    if (document.body.dataset.drawer) return this.closeDrawers();
    this.timeline.toPresent();
    this.composer.focus();
  }

  #messageKey(event, message) {
    if (event.ctrlKey || event.metaKey || event.altKey) return false;
    const row = document.activeElement;
    const own = row.dataset.message !== undefined;
    const mine = message.author.id === this.client.me.id;
    const step = { ArrowUp: -1, ArrowDown: 1 }[event.key];
    if (step) return this.timeline.walk(step), true;
    if (!own) return false;
    const act = {
      Enter: () => this.messageMenu(message, row),
      r: () => this.reply(message),
      e: () => mine && this.edit(message),
      c: () => this.copy(message.content),
      Delete: () => (mine || this.client.may(MANAGE_MESSAGES)) && this.remove(message),
    }[event.key];
    act?.();
    return Boolean(act);
  }

  #nextChannel(step) {
    const ids = [...this.client.channels.keys()];
    this.go(ids[(ids.indexOf(this.client.channel) + step + ids.length) % ids.length]);
  }
}

function place() {
  const [person, channel] = location.hash.slice(1).split("/");
  const id = (text) => (/^\d{1,20}$/.test(text ?? "") ? text : null);
  return [id(person), id(channel)];
}

new Page();
