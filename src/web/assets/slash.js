// A slash command while it is filled in: a field for each option, with help and choices above.

import { avatar, h, icon, iconButton } from "./dom.js";
import { KIND, nested, readValue } from "./commands.js";
import { readFile } from "./file.js";

/** Pause in typing before the application is asked for choices. */
const ASK_AFTER_MS = 120;

/** Choices shown at most (a Discord rule). */
const CHOICES = 25;

export class SlashForm {
  #page;
  #entry;
  #suggestions;
  #fields = [];
  #more;
  #timer;
  #asked;
  #leave;
  #done;

  /** `leave(text)` gives the line back; `done()` clears it after sending. */
  constructor(page, entry, suggestions, { leave, done }) {
    this.#page = page;
    this.#entry = entry;
    this.#suggestions = suggestions;
    this.#leave = leave;
    this.#done = done;
    this.#more = h("span", { class: "more-options" });
    this.fieldsElement = h("span", { class: "command-fields" });
    this.element = h(
      "div",
      { class: "command", role: "group", "aria-label": `/${entry.name}`, keydown: (event) => this.#key(event) },
      h("span", { class: "command-name" }, `/${entry.name}`),
      this.fieldsElement,
      this.#more,
      iconButton("close", "Cancel the command", () => leave("")),
    );
    const required = entry.options.filter((option) => option.required);
    const first = required.length ? required : entry.options.slice(0, 1);
    for (const option of first) this.#add(option);
    this.#drawMore();
  }

  get entry() {
    return this.#entry;
  }

  focus() {
    const empty = this.#fields.find(({ input }) => !input.value) ?? this.#fields.at(-1);
    if (empty) empty.input.focus();
    else this.#page.sendButton.focus();
  }

  /** The answer to a question of `#ask`. */
  choices({ interaction, choices }) {
    const field = this.#fields.find(({ input }) => input === document.activeElement);
    if (interaction !== this.#asked || !field) return;
    field.choices = choices.map((choice) => ({ label: choice.name, value: choice.value }));
    this.#offer(field, field.choices);
  }

  close() {
    clearTimeout(this.#timer);
    this.#suggestions.hide();
  }

  // Fields.

  #add(option) {
    const input = h("input", {
      type: option.type === KIND.FILE ? "file" : "text",
      role: option.type === KIND.FILE ? null : "combobox",
      "aria-label": option.name,
      "aria-required": option.required ? "true" : null,
      "aria-expanded": option.type === KIND.FILE ? null : "false",
      "aria-autocomplete": option.type === KIND.FILE ? null : "list",
      autocomplete: "off",
      autocapitalize: "off",
      spellcheck: "false",
      inputmode: option.type === KIND.INTEGER ? "numeric" : option.type === KIND.NUMBER ? "decimal" : null,
      maxlength: "6000",
    });
    const field = { option, input, picked: undefined };
    field.element = h("label", { class: "option" }, h("span", { class: "option-name" }, option.name), input);
    const resize = () => input.type === "text" && (input.size = Math.max(3, Math.min(60, [...input.value].length + 1)));
    resize();
    input.addEventListener("input", () => {
      field.picked = undefined;
      field.element.classList.remove("wrong");
      resize();
      this.#help(field);
    });
    input.addEventListener("focus", () => this.#help(field));
    input.addEventListener("blur", () => this.#suggestions.hide());
    field.resize = resize;
    this.#fields.push(field);
    this.fieldsElement.append(field.element);
    return field;
  }

  #remove(field) {
    this.#fields = this.#fields.filter((other) => other !== field);
    field.element.remove();
    this.#drawMore();
  }

  #drawMore() {
    const left = this.#entry.options.filter((option) => !this.#fields.some((field) => field.option === option));
    const add = (option) => () => {
      const field = this.#add(option);
      this.#drawMore();
      field.input.focus();
    };
    this.#more.replaceChildren(...left.map((option) => h("button", { type: "button", class: "option-add", title: option.description, click: add(option) }, icon("plus"), option.name)));
  }

  // Help and choices.

  #help(field) {
    const { option, input } = field;
    clearTimeout(this.#timer);
    this.#asked = undefined;
    if (option.autocomplete) {
      this.#offer(field, field.choices && filter(field.choices, input.value));
      this.#timer = setTimeout(() => this.#ask(field), ASK_AFTER_MS);
    } else {
      this.#offer(field, filter(this.#fixed(option), field.picked === undefined ? input.value : ""));
    }
  }

  #fixed(option) {
    const { client } = this.#page;
    const guild = client.here.guild;
    const people = (guild?.members.map((member) => member.user) ?? [client.me, client.view.bot]).map((user) => ({ label: client.nameOf(user.id), value: user.id, node: avatar(user, "small"), detail: user.username }));
    const roles = (guild?.roles ?? []).map((role) => ({ label: `@${role.name.replace(/^@/, "")}`, value: role.id }));
    const channels = (guild?.channels ?? []).map((channel) => ({ label: `#${channel.name}`, value: channel.id }));
    switch (option.type) {
      case KIND.BOOLEAN:
        return [
          { label: "True", value: true },
          { label: "False", value: false },
        ];
      case KIND.USER:
        return people;
      case KIND.CHANNEL:
        return channels;
      case KIND.ROLE:
        return roles;
      case KIND.MENTIONABLE:
        return [...people, ...roles];
      default:
        return (option.choices ?? []).map((choice) => ({ label: choice.name, value: choice.value }));
    }
  }

  async #ask(field) {
    const options = this.#fields
      .filter((other) => other.option.type !== KIND.FILE && (other === field || other.input.value))
      .map((other) => ({ name: other.option.name, type: other.option.type, value: other.picked ?? other.input.value, focused: other === field ? true : undefined }));
    try {
      const { interaction } = await this.#page.client.act("autocomplete", { channel: this.#page.client.channel, command: this.#entry.root.id, options: nested(this.#entry, options) });
      this.#asked = interaction;
    } catch {
      // Choices are a help, not a condition: one can go on typing.
    }
  }

  #offer(field, choices) {
    const { option, input } = field;
    const items = (choices ?? []).slice(0, CHOICES).map((choice) => ({ ...choice, run: (key) => this.#pick(field, choice, key) }));
    // What has been picked, or typed in full, needs no list: Enter sends.
    const settled = field.picked !== undefined || (items.length === 1 && items[0].label === input.value);
    this.#suggestions.show(input, settled ? [] : items, {
      title: option.name,
      help: `${option.description ?? ""}${option.required ? "" : " (optional)"}`,
      empty: !settled && choices?.length === 0 && option.type !== KIND.TEXT && input.value ? "Nothing fits" : undefined,
    });
  }

  #pick(field, choice, key) {
    field.input.value = choice.label;
    field.picked = choice.value;
    field.resize();
    const next = this.#fields.find(({ input }) => !input.value);
    if (key === "Tab" || next) (next ?? field).input.focus();
    this.#help(this.#fields.find(({ input }) => input === document.activeElement) ?? field);
  }

  // Keys and sending.

  #key(event) {
    const field = this.#fields.find(({ input }) => input === event.target);
    if (field && this.#suggestions.key(event)) return event.preventDefault();
    if (event.key === "Escape") {
      event.preventDefault();
      event.stopPropagation();
      return this.#leave("");
    }
    if (field && event.key === "Backspace" && !field.input.value) {
      event.preventDefault();
      const place = this.#fields.indexOf(field);
      if (place === 0 && this.#fields.length === 1) return this.#leave(`/${this.#entry.name}`);
      if (!field.option.required) this.#remove(field);
      return this.#fields[Math.max(0, place - 1)].input.focus();
    }
    if (field && event.key === "Enter" && !event.isComposing) {
      event.preventDefault();
      this.send();
    }
  }

  async send() {
    const options = [];
    const files = [];
    for (const field of this.#fields) {
      const { option, input } = field;
      if (!input.value && !option.required) continue;
      try {
        if (input.files?.length) {
          options.push({ name: option.name, type: option.type, value: files.length });
          files.push(await readFile(input.files[0]));
          continue;
        }
        options.push({ name: option.name, type: option.type, value: this.#value(field) });
      } catch (error) {
        field.element.classList.add("wrong");
        input.focus();
        this.#suggestions.show(input, [], { title: option.name, help: error.message });
        return;
      }
    }
    this.close();
    const sent = this.#page.client.slash(this.#entry, nested(this.#entry, options), files);
    if (await this.#page.attempt(sent)) this.#done();
  }

  #value({ option, input, picked }) {
    if (!input.value) throw new Error(`${option.name} is required`);
    if (picked !== undefined) return picked;
    const fixed = this.#fixed(option);
    if (!fixed.length) return readValue(option, input.value);
    const typed = input.value.trim().replace(/^[@#]/, "").toLowerCase();
    const chosen = fixed.find((choice) => choice.label.replace(/^[@#]/, "").toLowerCase() === typed || choice.value === typed);
    if (!chosen) throw new Error(`Choose one of the list for ${option.name}`);
    return chosen.value;
  }
}

function filter(choices, typed) {
  const wanted = typed.trim().toLowerCase().replace(/^[@#]/, "");
  return choices.filter((choice) => choice.label.toLowerCase().includes(wanted));
}
