// One message as an element: who and when, text, cards, files, controls, reactions.

import { EPHEMERAL, LOADING } from "./client.js";
import { avatar, h, icon, iconButton, tone } from "./dom.js";
import { guess, size } from "./file.js";
import { openMenu } from "./menu.js";
import { link, oneLine, sentAt, timeOnly, words } from "./words.js";

const REPLY = 19;
const JOINED = 7;

/** `follows` is true when the same person wrote just before: then name and picture are not repeated. */
export function messageElement(message, page, follows) {
  const { client } = page;
  const ephemeral = (message.flags & EPHEMERAL) !== 0;
  const name = client.nameOf(message.author.id);
  const classes = ["message"];
  if (follows) classes.push("follows");
  if (ephemeral) classes.push("ephemeral");
  if (client.mentionsMe(message) && message.author.id !== client.me.id) classes.push("to-me");
  return h(
    "li",
    { class: classes.join(" "), id: `message-${message.id}`, "data-message": message.id, tabindex: "-1", "aria-label": label(message, name, client) },
    origin(message, page),
    follows
      ? h("span", { class: "gutter-time", "aria-hidden": "true" }, timeOnly(message.timestamp))
      : h("button", { type: "button", class: "face", tabindex: "-1", "aria-hidden": "true", "data-person": message.author.id }, avatar(message.author)),
    h(
      "div",
      { class: "content" },
      follows ? null : header(message, name),
      text(message, client),
      (message.attachments ?? []).map(attachment),
      (message.embeds ?? []).map((embed) => card(embed, client)),
      (message.components ?? []).map((row) => controls(row, message, page)),
      failure(message, client),
      reactions(message, client, page),
      ephemeral ? onlyYou(message, client) : null,
    ),
  );
}

function label(message, name, client) {
  const said = message.content ? oneLine(message.content, client) : message.embeds?.[0]?.title ?? "";
  return `${name}, ${timeOnly(message.timestamp)}: ${said.slice(0, 200)}`;
}

function header(message, name) {
  const { author } = message;
  return h(
    "div",
    { class: "byline" },
    h("button", { type: "button", class: `author ${author.bot ? "is-bot" : tone(author.id)}`, tabindex: "-1", "data-person": author.id }, name),
    author.bot ? h("span", { class: "tag" }, "APP") : null,
    sentAt(message.timestamp),
  );
}

/** What a message came from: the message it replies to, or the command somebody used. */
function origin(message, page) {
  const { client } = page;
  const used = message.interaction_metadata ?? message.interaction;
  if (used?.user && message.type !== 0) {
    const name = message.interaction?.name ?? used.name;
    return h("div", { class: "origin" }, avatar(used.user, "tiny"), h("b", null, client.nameOf(used.user.id)), " used ", h("span", { class: "mention" }, commandName(name, message.type)));
  }
  if (message.type !== REPLY) return null;
  const original = message.referenced_message;
  if (!original) return h("div", { class: "origin" }, icon("reply"), h("i", null, "The original message was deleted"));
  const preview = original.content ? oneLine(original.content, client) : "Press to see the message";
  return h(
    "button",
    { type: "button", class: "origin", click: () => page.show(original.id) },
    avatar(original.author, "tiny"),
    h("span", { class: "hidden" }, "Reply to "),
    h("b", null, client.nameOf(original.author.id)),
    h("span", { class: "hidden" }, ": "),
    h("span", { class: "preview" }, preview),
  );
}

function commandName(name, type) {
  return !name ? "a command" : type === 20 ? `/${name}` : name;
}

function text(message, client) {
  if (message.flags & LOADING) return thinking(client.nameOf(message.author.id));
  if (message.type === JOINED) return h("div", { class: "text system" }, "joined the server. Welcome!");
  const edited = message.edited_timestamp ? h("span", { class: "edited", title: `Edited ${timeOnly(message.edited_timestamp)}` }, " (edited)") : null;
  return message.content || edited ? h("div", { class: "text" }, words(message.content ?? "", client), edited) : null;
}

export function thinking(name) {
  return h("div", { class: "text thinking" }, dots(), `${name} is thinking…`);
}

export function dots() {
  return h("span", { class: "dots", "aria-hidden": "true" }, h("i"), h("i"), h("i"));
}

/** Files and pictures are shown only from here: the page loads nothing from elsewhere. */
export function localFile(url) {
  const path = /\/attachments\/[^?#]+/.exec(url ?? "")?.[0];
  return path ?? null;
}

function attachment(file) {
  const address = localFile(file.url);
  if (address && /^image\/(png|jpeg|gif|webp|avif)$/.test(file.content_type?.split(";")[0] ?? guess(file.filename))) {
    return h("a", { class: "picture", href: address, target: "_blank", rel: "noopener" }, h("img", { src: address, alt: file.description ?? file.filename, loading: "lazy", width: file.width, height: file.height }));
  }
  return h("a", { class: "file", href: address, download: file.filename }, icon("file"), h("span", null, h("b", null, file.filename), h("small", null, size(file.size))));
}

function card(embed, client) {
  const element = h(
    "article",
    { class: "card" },
    embed.author ? h("div", { class: "card-author" }, embed.author.name) : null,
    embed.title ? h("div", { class: "card-title" }, /^https?:/.test(embed.url ?? "") ? link(embed.url, words(embed.title, client)) : words(embed.title, client)) : null,
    embed.description ? h("div", { class: "text" }, words(embed.description, client)) : null,
    embed.fields?.length ? h("dl", { class: "fields" }, embed.fields.map((field) => cardField(field, client))) : null,
    picture(embed.image ?? embed.thumbnail),
    cardFoot(embed),
  );
  if (Number.isInteger(embed.color)) element.style.setProperty("--stripe", `#${embed.color.toString(16).padStart(6, "0")}`);
  return element;
}

function cardField(field, client) {
  return h("div", { class: field.inline ? "field inline" : "field" }, h("dt", null, words(field.name, client)), h("dd", { class: "text" }, words(field.value, client)));
}

function picture(image) {
  if (!image) return null;
  const address = localFile(image.url);
  if (address) return h("img", { class: "card-image", src: address, alt: image.description ?? "", loading: "lazy" });
  return /^https?:/.test(image.url) ? h("p", { class: "card-link" }, link(image.url, [icon("link"), " Picture elsewhere"])) : null;
}

function cardFoot(embed) {
  if (!embed.footer && !embed.timestamp) return null;
  return h("div", { class: "card-foot" }, embed.footer?.text, embed.footer && embed.timestamp ? " • " : null, embed.timestamp ? sentAt(embed.timestamp) : null);
}

// Controls.

const STYLES = { 1: "primary", 2: "secondary", 3: "success", 4: "danger", 5: "link" };

function controls(row, message, page) {
  return h("div", { class: "row" }, (row.components ?? []).map((control) => (control.type === 2 ? button(control, message, page) : select(control, message, page))));
}

function button(control, message, page) {
  const face = [control.emoji?.name ? h("span", { class: "emoji" }, control.emoji.name) : null, control.label];
  if (control.style === 5) {
    return /^https?:/.test(control.url ?? "") ? h("a", { class: "control link", href: control.url, target: "_blank", rel: "noopener noreferrer" }, face, icon("link")) : null;
  }
  const busy = page.client.pressing(message, control.custom_id);
  return h(
    "button",
    {
      type: "button",
      class: `control ${STYLES[control.style] ?? "secondary"} ${busy ? "busy" : ""}`,
      disabled: control.disabled,
      "aria-busy": busy ? "true" : null,
      "data-focus": control.custom_id,
      click: () => busy || page.attempt(page.client.press(message, control.custom_id)),
    },
    busy ? dots() : null,
    h("span", { class: "face-label" }, face),
  );
}

/** What a select menu offers: its own options, or people, roles or channels. */
function selectOptions(control, client) {
  const guild = client.here?.guild;
  const people = () => (guild?.members ?? []).map(({ user }) => ({ label: client.nameOf(user.id), value: user.id }));
  const roles = () => (guild?.roles ?? []).map((role) => ({ label: role.name, value: role.id }));
  const channels = () => (guild?.channels ?? []).map((channel) => ({ label: `#${channel.name}`, value: channel.id }));
  return { 3: () => control.options ?? [], 5: people, 6: roles, 7: () => [...people(), ...roles()], 8: channels }[control.type]?.() ?? [];
}

function select(control, message, page) {
  const options = selectOptions(control, page.client);
  const chosen = options.filter((option) => option.default).map((option) => option.label);
  const busy = page.client.pressing(message, control.custom_id);
  const open = (event) => openMenu(event.currentTarget, selectMenu(control, options, message, page), { label: control.placeholder ?? "Choose", role: "listbox" });
  return h(
    "button",
    {
      type: "button",
      class: `select ${busy ? "busy" : ""}`,
      disabled: control.disabled,
      "aria-haspopup": "listbox",
      "data-focus": control.custom_id,
      click: (event) => busy || open(event),
    },
    h("span", { class: chosen.length ? "" : "placeholder" }, chosen.join(", ") || (control.placeholder ?? "Make a selection")),
    busy ? dots() : icon("down"),
  );
}

function selectMenu(control, options, message, page) {
  const send = (values) => page.attempt(page.client.press(message, control.custom_id, values));
  const most = control.max_values ?? 1;
  if (most <= 1) return options.map((option) => ({ ...face(option), run: () => send([option.value]) }));
  const picked = new Set(options.filter((option) => option.default).map((option) => option.value));
  const toggle = (value) => () => (picked.delete(value) || (picked.size < most && picked.add(value)), picked.has(value));
  return [
    ...options.map((option) => ({ ...face(option), toggle: toggle(option.value), checked: picked.has(option.value) })),
    { rule: true },
    { label: "Done", icon: "check", run: () => picked.size >= (control.min_values ?? 1) && send([...picked]) },
  ];
}

function face(option) {
  return { label: option.label, detail: option.description, emoji: option.emoji?.name, checked: option.default };
}

function failure(message, client) {
  const why = client.failedPresses.get(message.id);
  return why ? h("div", { class: "failure", role: "alert" }, why) : null;
}

function reactions(message, client, page) {
  if (!message.reactions?.length) return null;
  const one = ({ emoji, count, me }) =>
    h(
      "button",
      { type: "button", class: me ? "reaction mine" : "reaction", "aria-pressed": String(me), "aria-label": `${emoji.name}, ${count}`, "data-focus": `reaction-${emoji.name}`, click: () => page.react(message, emoji.name) },
      h("span", { class: "emoji" }, emoji.name),
      String(count),
    );
  return h("div", { class: "reactions" }, message.reactions.map(one));
}

function onlyYou(message, client) {
  return h("div", { class: "only-you" }, icon("eye"), "Only you can see this • ", h("button", { type: "button", class: "as-link", click: () => client.dismiss(message) }, "Dismiss message"));
}

/** What can be done with a message; made when the mouse or the focus comes to it. */
export function toolbar(message, page) {
  if (message.flags & (EPHEMERAL | LOADING)) return null;
  const mine = message.author.id === page.client.me.id;
  // For the mouse: with the keyboard, Enter on the message opens the whole menu.
  const key = { tabindex: "-1" };
  return h(
    "div",
    { class: "toolbar", role: "group", "aria-label": "Message actions" },
    iconButton("smile", "Add a reaction", (event) => page.reactMenu(message, event.currentTarget), { ...key, "data-focus": "smile" }),
    mine ? iconButton("pencil", "Edit", () => page.edit(message), key) : iconButton("reply", "Reply", () => page.reply(message), key),
    iconButton("dots", "More", (event) => page.messageMenu(message, event.currentTarget), { ...key, "aria-haspopup": "menu", "data-focus": "more" }),
  );
}
