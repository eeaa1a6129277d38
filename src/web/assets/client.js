// What the page knows: who speaks, their servers, the messages loaded, what is unread, what is pending.
// Views listen to its events and read its fields; they never change them.

import { flatten, messageMenu } from "./commands.js";
import { Link } from "./link.js";

/** Messages asked for at a time. */
const PAGE = 50;

/** Messages kept of a channel that nobody looks at; older ones are asked for again. */
const KEEP_UNSEEN = 200;

/** A typing notice without a message counts for ten seconds (a Discord rule). */
const TYPING_MS = 10_000;

/** Voice, categories and forums have no conversation of their own. */
const NO_TALK = new Set([2, 4, 13, 14, 15, 16]);

const ADMINISTRATOR = 1n << 3n;
export const MANAGE_MESSAGES = 1n << 13n;

export const EPHEMERAL = 64;
export const LOADING = 128;

/** Whether snowflake `a` is older than `b`: they are numbers too large for a Number. */
export function older(a, b) {
  return a.length === b.length ? a < b : a.length < b.length;
}

/** Puts a message in its place: an answer that took its time is older than what was said meanwhile. */
function insert(messages, message) {
  let place = messages.length;
  while (place > 0 && older(message.id, messages[place - 1].id)) place--;
  if (messages[place - 1]?.id === message.id) messages[place - 1] = message;
  else messages.splice(place, 0, message);
}

export class Client extends EventTarget {
  view = null;
  channel = null;
  connection = "connecting";
  users = new Map();
  channels = new Map();
  logs = new Map();
  typing = new Map();
  unread = new Map();
  pending = [];
  presses = new Map();
  failedPresses = new Map();
  #read = {};
  #link;
  #pendingNumber = 0;

  get me() {
    return this.view.user;
  }

  get here() {
    return this.channels.get(this.channel);
  }

  get log() {
    return this.logs.get(this.channel);
  }

  changed(name, detail) {
    this.dispatchEvent(new CustomEvent(name, { detail }));
  }

  on(name, listener) {
    this.addEventListener(name, (event) => listener(event.detail));
  }

  /** Connects as somebody; everything known through other eyes is dropped. */
  speakAs(person, channel = null) {
    this.#link?.close();
    this.view = null;
    this.channel = channel;
    for (const map of [this.logs, this.typing, this.unread, this.presses, this.failedPresses]) map.clear();
    this.pending = [];
    this.#link = new Link(
      person,
      (name, data) => this.#seen(name, data),
      (state) => {
        this.connection = state;
        this.changed("connection");
      },
    );
  }

  act(name, fields) {
    return this.ask({ act: { act: name, ...fields } });
  }

  /** Anything else that the server answers. */
  ask(body) {
    return this.#link.request(body);
  }

  // Names, for mentions and headers.

  user(id) {
    return this.users.get(id) ?? { id, username: "unknown" };
  }

  nameOf(id, guild = this.here?.guild) {
    const member = guild?.members.find((member) => member.user.id === id);
    const user = this.user(id);
    return member?.nick ?? user.global_name ?? user.username;
  }

  role(id) {
    return this.here?.guild?.roles.find((role) => role.id === id);
  }

  /** Whether this person holds a permission in the server they look at, channels' exceptions aside. */
  may(permission) {
    const { guild } = this.here;
    if (!guild) return false;
    if (guild.owner_id === this.me.id) return true;
    const mine = guild.members.find((member) => member.user.id === this.me.id)?.roles ?? [];
    const held = guild.roles.filter((role) => role.id === guild.id || mine.includes(role.id)).map((role) => BigInt(role.permissions ?? 0));
    return held.some((bits) => bits & (permission | ADMINISTRATOR));
  }

  /** The commands that can be used here: some are for servers alone, some for one server. */
  get #commands() {
    const guild = this.here?.guild;
    const context = guild ? 0 : 1;
    return this.view.commands.filter((command) => (command.contexts?.includes(context) ?? true) && (!command.guild_id || command.guild_id === guild?.id));
  }

  get entries() {
    return flatten(this.#commands);
  }

  get menuCommands() {
    return messageMenu(this.#commands);
  }

  // Going places.

  go(channel) {
    if (!this.channels.has(channel)) return;
    this.#leave();
    this.channel = channel;
    const log = this.#log(channel);
    log.marker = this.unread.has(channel) ? (this.#read[channel] ?? "0") : null;
    this.changed("place");
    this.changed("log", { channel });
    if (!log.loaded) this.older(channel);
  }

  #leave() {
    const log = this.log;
    if (!log) return;
    log.marker = null;
    if (log.messages.length > KEEP_UNSEEN) this.#shorten(log);
  }

  /** The direct messages with the bot, opened when there are none yet. */
  async home() {
    const known = this.view.dms[0]?.id;
    if (known) return this.go(known);
    const { channel } = await this.act("open_dm", {});
    if (!this.channels.has(channel)) this.#setView(await this.#link.request({ view: {} }));
    this.go(channel);
  }

  #log(channel) {
    if (!this.logs.has(channel)) this.logs.set(channel, { messages: [], loaded: false, complete: false, loading: null, marker: null });
    return this.logs.get(channel);
  }

  /** Loads the page before the oldest message that is known. */
  older(channel) {
    const log = this.#log(channel);
    if (log.complete) return Promise.resolve();
    log.loading ??= this.#load(channel, log).finally(() => (log.loading = null));
    return log.loading;
  }

  async #load(channel, log) {
    const before = log.messages[0]?.id;
    let page;
    try {
      page = await this.#link.request({ messages: { channel, before, limit: PAGE } });
    } catch {
      return;
    }
    if (this.logs.get(channel) !== log) return;
    // What arrived while the page was on its way may be in it too.
    const known = new Set(log.messages.map((message) => message.id));
    log.messages = [...page.filter((message) => !known.has(message.id)), ...log.messages];
    log.complete = page.length < PAGE;
    log.loaded = true;
    for (const message of page) this.#meet(message);
    this.changed("log", { channel });
  }

  // Reading.

  markRead(channel = this.channel) {
    const last = this.logs.get(channel)?.messages.at(-1)?.id;
    if (last) this.#setRead(channel, last);
    if (this.unread.delete(channel)) this.changed("unread");
  }

  #setRead(channel, id) {
    this.#read[channel] = id;
    try {
      localStorage.setItem(`mneme.read.${this.me.id}`, JSON.stringify(this.#read));
    } catch {
      // Private windows may refuse to store; then marks last as long as the page.
    }
  }

  #loadRead() {
    try {
      this.#read = JSON.parse(localStorage.getItem(`mneme.read.${this.me.id}`)) ?? {};
    } catch {
      this.#read = {};
    }
  }

  /** Compares each channel's newest message with what this person has read. */
  async #findUnread() {
    const link = this.#link;
    for (const channel of this.channels.keys()) {
      const page = await link.request({ messages: { channel, limit: 1 } }).catch(() => []);
      if (link !== this.#link) return;
      const last = page.at(-1);
      if (!last || channel === this.channel) continue;
      if (!this.#read[channel]) this.#setRead(channel, last.id);
      else if (older(this.#read[channel], last.id) && last.author.id !== this.me.id) this.#markUnread(last);
    }
  }

  #markUnread(message) {
    const before = this.unread.get(message.channel_id) ?? { mentions: 0 };
    const toMe = this.mentionsMe(message) || !this.channels.get(message.channel_id)?.guild;
    this.unread.set(message.channel_id, { mentions: before.mentions + (toMe ? 1 : 0) });
    this.changed("unread");
  }

  mentionsMe(message) {
    return message.mention_everyone || message.mentions?.some((user) => user.id === this.me.id) === true;
  }

  // Speaking.

  say(text, files, replyTo) {
    return this.act("say", { channel: this.channel, text, reply_to: replyTo, files });
  }

  async slash(entry, options, files) {
    await this.#interact("slash", `/${entry.name}`, { channel: this.channel, command: entry.root.id, options, files });
  }

  async menu(message, command) {
    await this.#interact("menu", command.name, { channel: message.channel_id, message: message.id, command: command.id });
  }

  async #interact(act, name, fields) {
    const pending = { key: `pending-${++this.#pendingNumber}`, channel: fields.channel, name, state: "sending", since: Date.now() };
    pending.retry = () => {
      this.dropPending(pending);
      return this.#interact(act, name, fields);
    };
    this.pending.push(pending);
    this.changed("log", { channel: fields.channel, own: true });
    try {
      pending.interaction = (await this.act(act, fields)).interaction;
    } catch (error) {
      this.dropPending(pending);
      throw error;
    }
  }

  dropPending(pending) {
    this.pending = this.pending.filter((other) => other !== pending);
    this.changed("log", { channel: pending.channel });
  }

  async press(message, customId, values) {
    this.failedPresses.delete(message.id);
    const { interaction } = await this.act("press", { channel: message.channel_id, message: message.id, custom_id: customId, values });
    this.presses.set(interaction, { channel: message.channel_id, message: message.id, customId });
    this.changed("log", { channel: message.channel_id });
  }

  pressing(message, customId) {
    return [...this.presses.values()].some((press) => press.message === message.id && press.customId === customId);
  }

  /** Takes an ephemeral message off the screen; it is nowhere else. */
  dismiss(message) {
    this.#remove(message.channel_id, message.id);
  }

  // What the server tells.

  #seen(name, data) {
    switch (name) {
      case "VIEW":
        return this.#arrived(data);
      case "LAGGED":
        return this.#reload();
      case "MESSAGE_CREATE":
        return this.#add(data);
      case "MESSAGE_UPDATE":
        return this.#update(data);
      case "MESSAGE_DELETE":
        return this.#remove(data.channel_id, data.id);
      case "MESSAGE_DELETE_BULK":
        return data.ids.forEach((id) => this.#remove(data.channel_id, id));
      case "MESSAGE_REACTION_ADD":
        return this.#react(data, 1);
      case "MESSAGE_REACTION_REMOVE":
        return this.#react(data, -1);
      case "TYPING_START":
        return this.#types(data);
      case "INTERACTION":
        return this.#interaction(data);
      case "MODAL":
        this.#settle(data.interaction);
        return this.changed("modal", data);
      case "AUTOCOMPLETE":
        return this.changed("autocomplete", data);
      case "STEP":
        return this.changed("step", data);
      case "STEPS_MISSED":
        return this.changed("steps-missed");
      case "SWITCHES":
        return this.changed("switches", data);
      case "BOT_ONLINE":
        this.view.bot_online = data.online;
        return this.changed("connection");
      default:
        // Servers, channels, members, commands: seldom enough to look at everything again.
        return this.#refresh();
    }
  }

  #arrived(view) {
    for (const map of [this.logs, this.typing, this.presses]) map.clear();
    this.pending = [];
    this.#setView(view);
    this.#loadRead();
    this.#findUnread();
    this.changed("arrived");
  }

  /** The server dropped events because we were too slow: look at everything again. */
  async #reload() {
    this.#arrived(await this.#link.request({ view: {} }));
  }

  async #refresh() {
    const link = this.#link;
    const view = await link.request({ view: {} }).catch(() => null);
    if (!view || link !== this.#link) return;
    this.#setView(view);
    // The place one was in may be gone.
    if (!this.here) this.changed("arrived");
  }

  #setView(view) {
    this.view = view;
    this.channels.clear();
    for (const user of [...view.people, view.bot, view.user]) this.users.set(user.id, user);
    for (const guild of view.guilds) {
      for (const member of guild.members) this.users.set(member.user.id, member.user);
      guild.channels = guild.channels.filter((channel) => !NO_TALK.has(channel.type));
      for (const channel of guild.channels) this.channels.set(channel.id, { ...channel, guild });
    }
    for (const dm of view.dms) this.channels.set(dm.id, { ...dm, name: dm.recipient.username, can_send: true });
    this.changed("view");
  }

  #meet(message) {
    if (!this.users.has(message.author.id)) this.users.set(message.author.id, message.author);
  }

  #add(message) {
    this.#meet(message);
    const channel = message.channel_id;
    if (this.typing.get(channel)?.delete(message.author.id)) this.changed("typing", { channel });
    const made = message.interaction_metadata?.id ?? message.interaction?.id;
    if (made) this.pending = this.pending.filter((pending) => pending.interaction !== made);
    const log = this.#log(channel);
    const before = log.messages.at(-1)?.id;
    insert(log.messages, message);
    if (message.author.id !== this.me.id) this.#unseen(message, log, before);
    const own = message.author.id === this.me.id || (message.flags & EPHEMERAL) !== 0;
    this.changed("log", { channel, added: message, own });
  }

  /** Somebody else wrote where this person does not look. */
  #unseen(message, log, before) {
    const away = message.channel_id !== this.channel;
    if (!away && !document.hidden) return;
    if (!away) log.marker ??= before ?? null;
    if (away && log.messages.length > 2 * KEEP_UNSEEN) this.#shorten(log);
    this.#markUnread(message);
  }

  #shorten(log) {
    log.messages = log.messages.slice(-KEEP_UNSEEN);
    log.complete = false;
  }

  #update(change) {
    const log = this.logs.get(change.channel_id);
    const place = log?.messages.findIndex((message) => message.id === change.id) ?? -1;
    if (place < 0) return;
    // A new object, so that views see at a glance what has changed.
    log.messages[place] = { ...log.messages[place], ...change };
    this.changed("log", { channel: change.channel_id, updated: log.messages[place] });
  }

  #remove(channel, id) {
    const log = this.logs.get(channel);
    if (!log) return;
    log.messages = log.messages
      .filter((message) => message.id !== id)
      .map((message) => (message.referenced_message?.id === id ? { ...message, referenced_message: null } : message));
    this.changed("log", { channel });
  }

  #react({ channel_id, message_id, user_id, emoji }, step) {
    const message = this.logs.get(channel_id)?.messages.find((message) => message.id === message_id);
    if (!message) return;
    const reactions = (message.reactions ?? []).map((reaction) => ({ ...reaction }));
    let mine = reactions.find((reaction) => reaction.emoji.name === emoji.name);
    if (!mine) reactions.push((mine = { emoji, count: 0, me: false }));
    mine.count += step;
    if (user_id === this.me.id) mine.me = step > 0;
    this.#update({ channel_id, id: message_id, reactions: reactions.filter((reaction) => reaction.count > 0) });
  }

  #types({ channel_id, user_id }) {
    if (user_id === this.me.id) return;
    if (!this.typing.has(channel_id)) this.typing.set(channel_id, new Map());
    const until = Date.now() + TYPING_MS;
    const people = this.typing.get(channel_id);
    people.set(user_id, until);
    this.changed("typing", { channel: channel_id });
    setTimeout(() => {
      if (people.get(user_id) === until && people.delete(user_id)) this.changed("typing", { channel: channel_id });
    }, TYPING_MS);
  }

  #interaction({ interaction, state }) {
    const pending = this.pending.find((pending) => pending.interaction === interaction);
    if (state === "thinking") {
      if (pending) {
        pending.state = "thinking";
        this.changed("log", { channel: pending.channel });
      }
    } else if (state === "failed") {
      if (pending) pending.state = "failed";
      const press = this.presses.get(interaction);
      if (press) this.failedPresses.set(press.message, "This interaction failed");
      if (pending) this.changed("log", { channel: pending.channel });
      this.#settle(interaction, pending);
    } else {
      this.#settle(interaction);
    }
    this.changed("interaction", { interaction, state });
  }

  /** An interaction has come to its end: nothing waits for it any longer. */
  #settle(interaction, keep) {
    const press = this.presses.get(interaction);
    this.presses.delete(interaction);
    const gone = this.pending.find((pending) => pending.interaction === interaction && pending !== keep);
    this.pending = this.pending.filter((pending) => pending !== gone);
    for (const done of [press, gone]) if (done) this.changed("log", { channel: done.channel });
  }
}
