// Behind the scenes: how the last answers came about, and switches for what can go wrong.

import { arrowKeys, h, iconButton } from "./dom.js";

/** Events kept; the panel is about the last ones. */
const EVENTS_KEPT = 25;

/** Steps kept of one event: a command that goes through pages of records has some dozens. */
const STEPS_KEPT = 120;

const SWITCHES = [
  ["away", "Store away", "Nobody answers where the records are."],
  ["slow", "Store slow", "Each request takes 0.9 s longer."],
  ["lost", "Replies lost", "Requests arrive, but many replies of the store and of Discord do not."],
];

const TOLD = { ok: "done", refused: "refused", error: "failed" };
const SENDS = { message: "Message sent", callback: "Interaction answered", edit: "Answer filled in", follow_up: "Follow-up sent", typing: "Typing shown" };

export class Backstage {
  #page;
  #client;
  #events = new Map();
  #shown = null;
  #frame;
  #open = false;
  #switches = {};
  #trail = h("div", { class: "trail" });
  #picker = h("div", { class: "trail-picker", role: "group", "aria-label": "Events" });
  #controls;

  constructor(page, panel) {
    this.#page = page;
    this.#client = page.client;
    this.#controls = new Map(SWITCHES.map((entry) => [entry[0], this.#switch(...entry)]));
    const drop = h("button", { type: "button", class: "control secondary", id: "drop-gateway", click: () => this.#drop() }, "Cut the gateway");
    panel.append(
      h("header", { class: "panel-head" }, h("h2", null, "Behind the scenes"), iconButton("close", "Close behind the scenes", () => page.toggleBackstage())),
      h(
        "section",
        { class: "panel-part", "aria-labelledby": "mischief-title" },
        h("h3", { id: "mischief-title" }, "Make something go wrong"),
        h("p", null, "Then say something and look: nothing is lost, and nothing happens twice."),
        h("div", { class: "mischief" }, [...this.#controls.values()].map(({ element }) => element), h("div", { class: "switch-line" }, drop, h("small", null, "It comes back and hears what was said meanwhile."))),
      ),
      h("section", { class: "panel-part", "aria-labelledby": "trail-title" }, h("h3", { id: "trail-title" }, "The last answer"), this.#picker, this.#trail),
    );
    arrowKeys(this.#picker, "button");
    this.#client.on("step", (step) => this.#add(step));
    this.#client.on("steps-missed", () => this.#events.clear());
    this.#client.on("switches", (switches) => this.#thrown(switches));
    this.#client.on("arrived", () => this.#open && this.#listen(true));
    this.#draw();
  }

  /** Listens only while somebody looks. */
  set open(open) {
    this.#open = open;
    if (this.#client.view) this.#listen(open);
    if (open) this.#draw();
  }

  #listen(on) {
    this.#client.ask({ backstage: on }).catch(() => {});
  }

  knows(message) {
    return this.#events.has(this.#eventOf(message));
  }

  /** Shows how the answer in this message came about. */
  show(message) {
    this.#shown = this.#eventOf(message);
    this.#draw();
  }

  /** What an answer answers, or the message itself. */
  #eventOf(message) {
    return message.interaction_metadata?.id ?? message.message_reference?.message_id ?? message.id;
  }

  // Switches.

  #switch(name, label, explanation) {
    const button = h("button", { type: "button", class: "switch", role: "switch", "aria-checked": "false", id: `switch-${name}`, "aria-describedby": `about-${name}`, click: () => this.#throw(name) }, h("span", { class: "switch-face", "aria-hidden": "true" }), h("span", null, label));
    return { button, element: h("div", { class: "switch-line" }, button, h("small", { id: `about-${name}` }, explanation)) };
  }

  #throw(name) {
    this.#page.attempt(this.#client.ask({ make: { switch: name, on: !this.#switches[name] } }));
  }

  async #drop() {
    if (await this.#page.attempt(this.#client.ask({ make: { switch: "drop" } }))) this.#page.notice("The connection to the gateway was cut", "quiet");
  }

  #thrown(switches) {
    this.#switches = switches;
    for (const [name, { button }] of this.#controls) button.setAttribute("aria-checked", String(switches[name]));
  }

  // Events.

  #add(step) {
    // What is no command ends here; nobody needs to see it.
    if (step.what === "entered" && step.data.door === "Chat") return void this.#events.delete(step.event);
    let event = this.#events.get(step.event);
    if (!event) {
      event = { id: step.event, steps: [] };
      this.#events.set(step.event, event);
      if (this.#events.size > EVENTS_KEPT) this.#events.delete(this.#events.keys().next().value);
      this.#shown = null;
    }
    if (event.steps.length < STEPS_KEPT) event.steps.push(step);
    this.#frame ??= requestAnimationFrame(() => this.#draw());
  }

  #draw() {
    cancelAnimationFrame(this.#frame);
    this.#frame = undefined;
    if (!this.#open) return;
    const all = [...this.#events.values()].filter((event) => ["heard", "entered"].every((what) => event.steps.some((step) => step.what === what)));
    const shown = all.find((event) => event.id === this.#shown) ?? all.at(-1);
    this.#picker.replaceChildren(...(all.length > 1 ? all.slice(-6).map((event) => this.#pick(event, event === shown)) : []));
    this.#trail.replaceChildren(shown ? this.#story(shown) : h("p", { class: "trail-empty" }, "Say something to the bot: what it does then is told here, step by step."));
  }

  #pick(event, current) {
    const heard = event.steps.find((step) => step.what === "heard").data;
    const text = shorten(heard.text, 18);
    return h("button", { type: "button", class: "trail-pick", "aria-pressed": String(current), click: () => ((this.#shown = event.id), this.#draw()) }, text);
  }

  #story({ id, steps }) {
    const lines = steps.map((step, place) => this.#line(step, steps.slice(0, place))).filter(Boolean);
    return h("div", null, summary(steps), h("ol", { class: "steps", "aria-label": `Steps of event ${id}` }, lines));
  }

  #line({ what, after_ms: after, data }, before) {
    const line = (mark, title, ...more) => h("li", { class: `step ${mark}` }, h("span", { class: "step-time" }, `${Math.round(after)} ms`), h("div", { class: "step-what" }, h("b", null, title), more));
    switch (what) {
      case "heard":
        return line("heard", data.kind === "message" ? "The gateway told of a message" : "The gateway told of an interaction", h("code", { class: "step-text" }, shorten(data.text, 200)), h("small", null, `from ${this.#client.nameOf(data.person)}`));
      case "entered":
        return line("heard", `It is a command, by ${door(data.door)}`);
      case "repeated":
        return line("again", "Delivered once more, and passed over", h("small", null, "The event is known: it runs once."));
      case "store":
        return line(data.answer.broken ? "broken" : "store", ...storeLine(data, before));
      case "worked":
        return line("worked", `The command ${data.command} is ${TOLD[data.outcome] ?? data.outcome}`, h("small", null, unitsText(data.units)));
      case "sending":
        return line("sending", "The reply", nonce(data.body), details("What is sent", data.body));
      case "sent": {
        const lost = data.status === 0;
        const again = before.filter((step) => step.what === "sent" && step.data.route === data.route).length;
        const small = lost ? "It may or may not be there; it is sent again under the same nonce." : again ? "Sent again: Discord knows the nonce and keeps one message." : null;
        return line(lost ? "broken" : "sent", lost ? "No answer from Discord" : `${SENDS[data.route] ?? data.route}: ${data.status}`, small && h("small", null, small));
      }
      default:
        return null;
    }
  }
}

function door(name) {
  return { Prefix: "the server's prefix", Mention: "a mention", DirectMessage: "direct message", Slash: "a slash command", Control: "a control" }[name] ?? name;
}

function summary(steps) {
  const store = steps.filter((step) => step.what === "store");
  const units = steps.find((step) => step.what === "worked")?.data.units;
  const last = steps.at(-1);
  const parts = [`${store.length} ${store.length === 1 ? "request" : "requests"} to the store`, units && unitsText(units), `${Math.round(last.after_ms)} ms`];
  return h("p", { class: "trail-sum" }, parts.filter(Boolean).join(" · "));
}

function unitsText({ read, write }) {
  return `${number(read)} read and ${number(write)} write units`;
}

function number(n) {
  return String(Math.round(n * 10) / 10);
}

function nonce(body) {
  const found = body.nonce ?? null;
  if (!found) return h("small", null, "The interaction's one response: sent twice, it is one.");
  return h("small", null, "nonce ", h("code", null, String(found)), body.enforce_nonce ? ", enforced" : "");
}

// The store.

const VERBS = { GetItem: "Read", PutItem: "Write", UpdateItem: "Change", DeleteItem: "Delete", Query: "Query", TransactWriteItems: "Transaction" };

function storeLine({ asked, answer, took_ms: took }, before) {
  const { operation, body } = asked;
  const again = before.some((step) => step.what === "store" && same(step.data.asked, asked));
  const writes = body.TransactItems?.flatMap((write) => Object.entries(write)) ?? [[operation, body]];
  const title = operation === "TransactWriteItems" ? `Transaction of ${writes.length} ${writes.length === 1 ? "write" : "writes"}, all or nothing` : `${VERBS[operation] ?? operation} ${table(body)}`;
  const end = answer.broken ? `no reply: ${answer.broken}` : `${outcome(answer)} · ${Math.round(took)} ms`;
  return [
    again ? `${title}, sent again` : title,
    writes.map(([kind, write]) => one(operation === "TransactWriteItems" ? kind : null, write)),
    body.ClientRequestToken ? h("small", null, "token ", h("code", null, body.ClientRequestToken), ": sent twice, it is written once") : null,
    h("small", { class: answer.broken || answer.status >= 400 ? "step-bad" : "step-end" }, end),
  ];
}

/** One read or write: what it is about, on which condition, with the item. */
function one(kind, write) {
  const condition = expression(write.ConditionExpression, write);
  const change = expression(write.UpdateExpression, write);
  const filter = expression(write.KeyConditionExpression, write);
  const key = write.Key ? plain(write.Key) : null;
  return h(
    "div",
    { class: "step-write" },
    kind ? h("span", null, `${kind === "ConditionCheck" ? "Check" : kind} ${table(write)}`) : null,
    key ? h("code", null, Object.entries(key).map(([name, value]) => `${name} = ${text(value)}`).join(", ")) : null,
    filter ? h("code", null, filter) : null,
    change ? h("code", null, change) : null,
    condition ? h("span", { class: "step-condition" }, "only if ", h("code", null, condition)) : null,
    write.Item ? details("Item", plain(write.Item)) : null,
  );
}

function outcome({ status, body }) {
  if (status >= 400) return refusal(body);
  const used = [body?.ConsumedCapacity ?? []].flat();
  const units = used.reduce((sum, one) => sum + (one.CapacityUnits ?? 0), 0);
  const found = body?.Items ? `${body.Items.length} found, ` : body && "Item" in body ? "found, " : "";
  return `${found}${number(units)} ${units === 1 ? "unit" : "units"}`;
}

function refusal(body) {
  const kind = String(body?.__type ?? "refused").split("#").pop();
  if (kind === "ConditionalCheckFailedException" || body?.CancellationReasons?.some((reason) => reason.Code === "ConditionalCheckFailed")) return "the condition does not hold: nothing was written";
  return kind;
}

function table(write) {
  return write.TableName ?? "";
}

function same(a, b) {
  return JSON.stringify(a) === JSON.stringify(b);
}

/** An expression with its names and values in their places. */
export function expression(source, { ExpressionAttributeNames: names = {}, ExpressionAttributeValues: values = {} }) {
  return source?.replace(/[#:]\w+/gu, (word) => names?.[word] ?? (word in (values ?? {}) ? text(plainValue(values[word])) : word)) ?? null;
}

/** DynamoDB's JSON as plain values. Numbers stay text: ids do not fit into a Number. */
export function plain(item) {
  return Object.fromEntries(Object.entries(item).map(([name, value]) => [name, plainValue(value)]));
}

function plainValue(value) {
  if (value === null || typeof value !== "object") return value;
  const [[kind, inner]] = Object.entries(value);
  switch (kind) {
    case "M":
      return plain(inner);
    case "L":
      return inner.map(plainValue);
    case "N":
      return { number: inner };
    case "NULL":
      return null;
    default:
      return inner;
  }
}

/** JSON, but that numbers of any length stay as they are. */
function text(value, space) {
  return JSON.stringify(value, (_, inner) => (inner && typeof inner === "object" && Object.keys(inner).length === 1 && "number" in inner ? `\u0001${inner.number}\u0001` : inner), space).replace(/"\\u0001([^"]*)\\u0001"/gu, "$1");
}

function details(label, value) {
  return h("details", null, h("summary", null, label), h("pre", { tabindex: "0" }, text(value, 2)));
}

function shorten(source, length) {
  const all = [...(source ?? "")];
  return all.length > length ? `${all.slice(0, length).join("")}…` : all.join("");
}

