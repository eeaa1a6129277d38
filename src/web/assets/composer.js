// The input line: text, files, replies, edits, and what is suggested while typing.

import { search, typedOut } from "./commands.js";
import { avatar, h, icon, iconButton } from "./dom.js";
import { FILE_BYTES_MAX, readFile, size } from "./file.js";
import { SlashForm } from "./slash.js";

/** A message is cut off here (a Discord rule), so the page does not send more. */
const TEXT_MAX = 2000;

/** From here on the characters left are shown. */
const COUNT_FROM = 1800;

/** A typing notice holds for ten seconds; it is repeated a little earlier. */
const TYPING_EVERY_MS = 8_000;

/** Files of one message (a Discord rule). */
const FILES_MAX = 10;

/** Commands listed at a time; typing narrows it down. */
const COMMANDS_SHOWN = 30;

export class Composer {
  #page;
  #client;
  #suggestions;
  #form;
  #input;
  #strip;
  #tray;
  #count;
  #slash;
  #replyTo;
  #editing;
  #files = [];
  #drafts = new Map();
  #draftKey;
  #typedAt = 0;
  #sending = false;

  constructor(page, suggestions, { form, input, strip, tray, count, attach, picker }) {
    this.#page = page;
    this.#client = page.client;
    this.#suggestions = suggestions;
    this.#form = form;
    this.#input = input;
    this.#strip = strip;
    this.#tray = tray;
    this.#count = count;
    form.addEventListener("submit", (event) => (event.preventDefault(), this.#submit()));
    input.addEventListener("input", () => this.#typed());
    input.addEventListener("keydown", (event) => this.#key(event));
    input.addEventListener("blur", () => suggestions.hide());
    input.addEventListener("paste", (event) => this.#paste(event));
    attach.addEventListener("click", () => picker.click());
    picker.addEventListener("change", () => {
      this.addFiles([...picker.files]);
      picker.value = "";
    });
    page.client.on("place", () => this.#moved());
    page.client.on("view", () => this.#capable());
    page.client.on("autocomplete", (answer) => this.#slash?.choices(answer));
    page.client.on("log", ({ updated }) => updated && this.#editing?.id === updated.id && (this.#editing = updated));
  }

  focus() {
    if (this.#slash) this.#slash.focus();
    else this.#input.focus();
  }

  /** Puts text into the line, for examples that are pressed. */
  set text(value) {
    this.#closeSlash();
    this.#input.value = value;
    this.#resize();
    this.focus();
  }

  insert(text) {
    this.#closeSlash();
    const { selectionStart, selectionEnd } = this.#input;
    this.#input.setRangeText(text, selectionStart, selectionEnd, "end");
    this.#typed();
    this.focus();
  }

  // Channels: each keeps its own draft.

  #moved() {
    if (this.#draftKey) this.#drafts.set(this.#draftKey, this.#editing ? "" : this.#input.value);
    this.#draftKey = `${this.#client.me.id}/${this.#client.channel}`;
    this.#reset();
    this.#input.value = this.#drafts.get(this.#draftKey) ?? "";
    this.#resize();
    this.#capable();
  }

  #capable() {
    const here = this.#client.here;
    if (!here) return;
    const may = here.can_send !== false;
    const hint = may ? `Message ${here.guild ? "#" : ""}${here.name}` : "You do not have permission to send messages here";
    this.#input.disabled = !may;
    this.#input.placeholder = hint;
    this.#input.setAttribute("aria-label", hint);
    this.#form.classList.toggle("closed", !may);
  }

  #reset() {
    this.#closeSlash();
    this.#replyTo = this.#editing = undefined;
    this.#files = [];
    this.#drawFiles();
    this.#drawStrip();
  }

  // Replies and edits.

  reply(message) {
    this.#closeSlash();
    this.#editing = undefined;
    this.#replyTo = message;
    this.#drawStrip();
    this.focus();
  }

  edit(message) {
    this.#closeSlash();
    this.#replyTo = undefined;
    if (!this.#editing) this.#drafts.set(this.#draftKey, this.#input.value);
    this.#editing = message;
    this.#input.value = message.content;
    this.#resize();
    this.#drawStrip();
    this.focus();
    this.#input.setSelectionRange(message.content.length, message.content.length);
  }

  #cancel() {
    if (this.#editing) {
      this.#input.value = this.#drafts.get(this.#draftKey) ?? "";
      this.#resize();
    }
    this.#replyTo = this.#editing = undefined;
    this.#drawStrip();
    this.focus();
  }

  #drawStrip() {
    const about = this.#replyTo ?? this.#editing;
    this.#strip.hidden = !about;
    this.#strip.replaceChildren();
    if (!about) return;
    const text = this.#editing ? "Editing your message" : ["Replying to ", h("b", null, this.#client.nameOf(about.author.id))];
    this.#strip.append(icon(this.#editing ? "pencil" : "reply"), h("span", null, text), h("kbd", null, "Esc"), iconButton("close", "Cancel", () => this.#cancel()));
  }

  // Files.

  addFiles(files) {
    for (const file of files) {
      if (this.#files.length >= FILES_MAX) return this.#page.notice(`A message takes ${FILES_MAX} files at most`);
      if (file.size > FILE_BYTES_MAX) this.#page.notice(`${file.name} has ${size(file.size)}; files may have ${size(FILE_BYTES_MAX)} here`);
      else this.#files.push(file);
    }
    this.#drawFiles();
    this.focus();
  }

  #drawFiles() {
    this.#tray.hidden = !this.#files.length;
    const drop = (file) => () => {
      this.#files = this.#files.filter((other) => other !== file);
      this.#drawFiles();
      this.focus();
    };
    this.#tray.replaceChildren(...this.#files.map((file) => h("li", { class: "tray-file" }, icon("file"), h("span", null, h("b", null, file.name), h("small", null, size(file.size))), iconButton("trash", `Remove ${file.name}`, drop(file)))));
  }

  #paste(event) {
    const files = [...event.clipboardData.files];
    if (!files.length) return;
    event.preventDefault();
    this.addFiles(files);
  }

  // Typing.

  #typed() {
    this.#resize();
    const text = this.#input.value;
    const entry = !this.#editing && typedOut(this.#client.entries, text);
    if (entry) return this.#openSlash(entry);
    this.#suggest();
    if (!text || text.startsWith("/") || this.#editing || Date.now() - this.#typedAt < TYPING_EVERY_MS) return;
    this.#typedAt = Date.now();
    this.#client.act("typing", { channel: this.#client.channel }).catch(() => {});
  }

  #resize() {
    // Browsers without `field-sizing` get the height from the text.
    if (!CSS.supports("field-sizing", "content")) {
      this.#input.style.height = "auto";
      this.#input.style.height = `${this.#input.scrollHeight}px`;
    }
    const left = TEXT_MAX - [...this.#input.value].length;
    this.#count.textContent = left < TEXT_MAX - COUNT_FROM ? String(left) : "";
    this.#count.classList.toggle("over", left < 0);
    this.#form.classList.toggle("filled", this.#input.value.trim() !== "");
  }

  #suggest() {
    const before = this.#input.value.slice(0, this.#input.selectionStart);
    if (/^\/[^\n]*$/.test(before) && !this.#editing) return this.#suggestCommands(before.slice(1));
    const person = /(?:^|\s)@([\p{L}\p{N}_.-]{0,32})$/u.exec(before);
    if (person) return this.#suggestPeople(person[1]);
    const channel = /(?:^|\s)#([\p{L}\p{N}_-]{0,32})$/u.exec(before);
    if (channel) return this.#suggestChannels(channel[1]);
    this.#suggestions.hide();
  }

  #suggestCommands(typed) {
    const bot = this.#client.view.bot;
    const found = search(this.#client.entries, typed).slice(0, COMMANDS_SHOWN);
    const items = found.map((entry) => ({
      label: `/${entry.name}`,
      args: entry.options.map((option) => h("span", { class: option.required ? "arg" : "arg optional" }, option.name)),
      detail: entry.description,
      hint: bot.username,
      node: avatar(bot, "small"),
      run: () => this.#openSlash(entry),
    }));
    this.#suggestions.show(this.#input, items, { title: typed ? `Commands for /${typed}` : "Commands", empty: this.#client.entries.length ? undefined : "No commands yet. Is the bot running?" });
  }

  #suggestPeople(typed) {
    const guild = this.#client.here.guild;
    const users = guild ? guild.members.map((member) => member.user) : [this.#client.view.bot];
    const items = users
      .filter((user) => `${this.#client.nameOf(user.id)} ${user.username}`.toLowerCase().includes(typed.toLowerCase()))
      .map((user) => ({ label: this.#client.nameOf(user.id), detail: user.bot ? "the bot" : undefined, node: avatar(user, "small"), run: () => this.#complete(typed.length + 1, `<@${user.id}> `) }));
    this.#suggestions.show(this.#input, items, { title: "People" });
  }

  #suggestChannels(typed) {
    const items = (this.#client.here.guild?.channels ?? [])
      .filter((channel) => channel.name.toLowerCase().includes(typed.toLowerCase()))
      .map((channel) => ({ label: channel.name, node: icon("hash"), run: () => this.#complete(typed.length + 1, `<#${channel.id}> `) }));
    this.#suggestions.show(this.#input, items, { title: "Channels" });
  }

  #complete(length, text) {
    const end = this.#input.selectionStart;
    this.#input.setRangeText(text, end - length, end, "end");
    this.#suggestions.hide();
    this.#resize();
  }

  // Slash commands.

  /** Opens the form of a command by its whole name. */
  command(name) {
    const entry = this.#client.entries.find((entry) => entry.name === name);
    if (entry) this.#openSlash(entry);
  }

  #openSlash(entry) {
    this.#closeSlash();
    this.#replyTo = this.#editing = undefined;
    this.#drawStrip();
    this.#input.value = "";
    this.#resize();
    this.#slash = new SlashForm(this.#page, entry, this.#suggestions, {
      leave: (text) => {
        this.#closeSlash();
        this.#input.value = text;
        this.#typed();
        this.focus();
      },
      done: () => {
        this.#closeSlash();
        this.focus();
      },
    });
    this.#input.hidden = true;
    this.#input.before(this.#slash.element);
    this.#form.classList.add("filled");
    this.#slash.focus();
  }

  #closeSlash() {
    if (!this.#slash) return;
    this.#slash.close();
    this.#slash.element.remove();
    this.#slash = undefined;
    this.#input.hidden = false;
    this.#resize();
  }

  // Keys and sending.

  #key(event) {
    if (event.isComposing) return;
    if (this.#suggestions.key(event)) return event.preventDefault();
    if (event.key === "Enter" && !event.shiftKey) {
      event.preventDefault();
      this.#submit();
    } else if (event.key === "Escape" && (this.#replyTo || this.#editing)) {
      event.preventDefault();
      event.stopPropagation();
      this.#cancel();
    } else if (event.key === "ArrowUp" && !this.#input.value && !event.shiftKey) {
      const mine = this.#client.log?.messages.findLast((message) => message.author.id === this.#client.me.id && message.content && !(message.flags & 64));
      if (!mine) return;
      event.preventDefault();
      this.edit(mine);
    }
  }

  async #submit() {
    if (this.#slash) return this.#slash.send();
    if (this.#sending) return;
    this.#suggestions.hide();
    const text = this.#input.value.trim();
    if ([...text].length > TEXT_MAX) return this.#page.notice(`A message takes ${TEXT_MAX} characters at most; this one has ${[...text].length}`);
    if (this.#editing) return this.#saveEdit(text);
    if (!text && !this.#files.length) return;
    this.#sending = true;
    const kept = { value: this.#input.value, files: this.#files, replyTo: this.#replyTo, key: this.#draftKey };
    const files = await Promise.all(this.#files.map(readFile));
    this.#input.value = "";
    this.#reset();
    this.#resize();
    const sent = await this.#page.attempt(this.#client.say(text, files.length ? files : undefined, kept.replyTo?.id));
    this.#sending = false;
    this.#typedAt = 0;
    if (!sent && kept.key === this.#draftKey && !this.#input.value) this.#restore(kept);
  }

  /** What could not be sent stays in the line. */
  #restore({ value, files, replyTo }) {
    this.#input.value = value;
    this.#files = files;
    this.#replyTo = replyTo;
    this.#drawFiles();
    this.#drawStrip();
    this.#resize();
  }

  async #saveEdit(text) {
    const message = this.#editing;
    if (!text) return this.#page.remove(message);
    if (text !== message.content) {
      const edited = await this.#page.attempt(this.#client.act("edit", { channel: message.channel_id, message: message.id, text }));
      if (!edited) return;
    }
    this.#cancel();
  }
}
