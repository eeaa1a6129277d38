// Where one can go and who is there: servers, channels, the person speaking, members.

import { arrowKeys, avatar, h, icon, initials, tone } from "./dom.js";
import { openMenu } from "./menu.js";
import { show } from "./modal.js";
import { Suggestions } from "./suggestions.js";

export class Sidebar {
  #page;
  #client;
  #parts;

  constructor(page, parts) {
    this.#page = page;
    this.#client = page.client;
    this.#parts = parts;
    arrowKeys(parts.servers, "button");
    arrowKeys(parts.channels, "button");
    arrowKeys(parts.members, "button");
    for (const name of ["view", "place", "unread", "connection"]) this.#client.on(name, () => this.draw());
  }

  draw() {
    if (!this.#client.view || !this.#client.here) return;
    const focus = document.activeElement?.dataset.go;
    this.#drawServers();
    this.#drawChannels();
    this.#drawMe();
    this.#drawMembers();
    if (focus) document.querySelector(`[data-go="${CSS.escape(focus)}"]`)?.focus();
  }

  #drawServers() {
    const { view, here } = this.#client;
    const home = h("button", { type: "button", class: "server home", "aria-label": "Direct messages", title: "Direct messages", "aria-current": here.guild ? null : "true", "data-go": "home", click: () => this.#page.attempt(this.#client.home()) }, icon("chat"), this.#badge(view.dms.map((dm) => dm.id)));
    this.#parts.servers.replaceChildren(home, h("hr"), ...view.guilds.map((guild) => this.#server(guild)));
  }

  #server(guild) {
    const ids = guild.channels.map((channel) => channel.id);
    return h(
      "button",
      {
        type: "button",
        class: `server ${tone(guild.id)} ${ids.some((id) => this.#client.unread.has(id)) ? "unread" : ""}`,
        "aria-label": guild.name,
        title: guild.name,
        "aria-current": this.#client.here.guild?.id === guild.id ? "true" : null,
        "data-go": guild.id,
        click: () => this.#page.goServer(guild),
      },
      initials(guild.name),
      this.#badge(ids),
    );
  }

  /** How often somebody called this person in these channels. */
  #badge(channels) {
    const count = channels.reduce((sum, id) => sum + (this.#client.unread.get(id)?.mentions ?? 0), 0);
    return count ? h("span", { class: "badge" }, h("span", { class: "hidden" }, "Mentions: "), String(count)) : null;
  }

  #drawChannels() {
    const { here, view } = this.#client;
    this.#parts.placeName.textContent = here.guild?.name ?? "Direct messages";
    const channels = here.guild?.channels.map((channel) => this.#client.channels.get(channel.id)) ?? view.dms.map((dm) => this.#client.channels.get(dm.id));
    this.#parts.channels.replaceChildren(...channels.map((channel) => this.#channel(channel)));
  }

  #channel(channel) {
    const unread = this.#client.unread.has(channel.id);
    return h(
      "button",
      {
        type: "button",
        class: unread ? "channel unread" : "channel",
        "aria-current": channel.id === this.#client.channel ? "page" : null,
        "data-go": channel.id,
        click: () => this.#page.go(channel.id),
      },
      channel.guild ? icon("hash") : this.#withStatus(channel.recipient),
      h("span", null, channel.name),
      unread ? h("span", { class: "hidden" }, "unread") : null,
      this.#badge([channel.id]),
    );
  }

  #withStatus(user) {
    const online = !user.bot || this.#client.view.bot_online;
    return h("span", { class: `status ${online ? "online" : ""}` }, avatar(user, "small"));
  }

  #drawMe() {
    const { me } = this.#client;
    const name = this.#client.nameOf(me.id);
    this.#parts.me.replaceChildren(
      h(
        "button",
        { type: "button", class: "me", "aria-haspopup": "menu", "data-go": "me", click: (event) => this.peopleMenu(event.currentTarget) },
        avatar(me),
        h("span", { class: "me-text" }, h("small", null, "Speaking as"), " ", h("b", null, name), h("span", { class: "hidden" }, ". Switch person")),
        icon("up"),
      ),
    );
    this.#parts.speaker.replaceChildren(avatar(me, "small"));
    this.#parts.speaker.setAttribute("aria-label", `Speaking as ${name}. Switch person`);
  }

  /** Chooses who speaks. */
  peopleMenu(anchor) {
    const { view, me } = this.#client;
    const entries = view.people.map((user) => ({
      label: user.global_name ?? user.username,
      detail: view.guilds.filter((guild) => guild.owner_id === user.id).map((guild) => `owns ${guild.name}`).join(", ") || undefined,
      node: avatar(user, "small"),
      checked: user.id === me.id,
      run: () => this.#page.speakAs(user.id),
    }));
    openMenu(anchor, [{ heading: "Speak as" }, ...entries], { label: "Speak as" });
  }

  #drawMembers() {
    const { here, view } = this.#client;
    const users = here.guild?.members.map((member) => member.user) ?? [this.#client.me, here.recipient];
    const people = users.filter((user) => !user.bot);
    const bots = users.filter((user) => user.bot);
    const group = (title, members) => (members.length ? [h("h3", null, `${title} — ${members.length}`), members.map((user) => this.#member(user, here.guild))] : []);
    const online = view.bot_online ? "Apps" : "Apps, offline";
    this.#parts.members.replaceChildren(...[group("People", people), group(online, bots)].flat(2));
  }

  #member(user, guild) {
    const away = user.bot && !this.#client.view.bot_online;
    return h(
      "button",
      { type: "button", class: away ? "member away" : "member", "data-go": `member-${user.id}`, click: (event) => this.personMenu(user.id, event.currentTarget) },
      this.#withStatus(user),
      h("span", { class: "member-text" }, h("span", null, this.#client.nameOf(user.id), user.bot ? h("span", { class: "tag" }, "APP") : null, guild?.owner_id === user.id ? h("span", { class: "crown", title: "Owner of the server" }, "👑") : null), this.#roles(user.id, guild)),
    );
  }

  #roles(id, guild) {
    const ids = guild?.members.find((member) => member.user.id === id)?.roles ?? [];
    const names = guild?.roles.filter((role) => ids.includes(role.id) && role.id !== guild.id && !role.managed).map((role) => role.name) ?? [];
    return names.length ? h("small", null, names.join(", ")) : null;
  }

  /** What one can do with a person. */
  personMenu(id, anchor) {
    const { view, me } = this.#client;
    const user = this.#client.user(id);
    const mine = id === me.id;
    openMenu(
      anchor,
      [
        { heading: this.#client.nameOf(id) },
        { label: "Mention", icon: "at", run: () => this.#page.composer.insert(`<@${id}> `) },
        user.bot ? { label: "Message", icon: "chat", run: () => this.#page.attempt(this.#client.home()) } : null,
        !mine && view.people.some((person) => person.id === id) ? { label: `Speak as ${this.#client.nameOf(id)}`, icon: "people", run: () => this.#page.speakAs(id) } : null,
        { label: "Copy ID", icon: "copy", run: () => this.#page.copy(id) },
      ],
      { label: this.#client.nameOf(id) },
    );
  }
}

/** Ctrl+K: type where to go or who to be. */
export function openSwitcher(page) {
  const { client } = page;
  const input = h("input", { type: "text", role: "combobox", "aria-label": "Go to a channel or speak as a person", "aria-expanded": "false", "aria-autocomplete": "list", autocomplete: "off", placeholder: "Where to, or who to be?" });
  const panel = h("div", { class: "suggestions inline" });
  const dialog = show("Go to", h("div", { class: "switcher" }, input, panel), "switcher-dialog");
  const suggestions = new Suggestions(panel);
  const leave = (run) => () => {
    dialog.close();
    run();
  };
  const places = [
    ...[...client.channels.values()].map((channel) => ({ label: channel.name, hint: channel.guild?.name ?? "Direct message", node: channel.guild ? icon("hash") : avatar(channel.recipient, "small"), run: leave(() => page.go(channel.id)) })),
    ...client.view.people.map((user) => ({ label: client.nameOf(user.id), hint: "Speak as", node: avatar(user, "small"), run: leave(() => page.speakAs(user.id)) })),
  ];
  const list = () => {
    const wanted = input.value.trim().toLowerCase();
    suggestions.show(input, places.filter((place) => `${place.label} ${place.hint}`.toLowerCase().includes(wanted)), { empty: "Nothing by that name" });
  };
  input.addEventListener("input", list);
  input.addEventListener("keydown", (event) => event.key !== "Escape" && suggestions.key(event) && event.preventDefault());
  list();
  input.focus();
}
