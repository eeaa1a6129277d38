// Discord's Markdown: `parse` makes a tree out of text, `render` makes elements out of the tree.
// Each construct looks for its own end, so that what does not close is plain text.

/** Deeper than this, marks are text: nobody writes it, and a hostile message must not exhaust the stack. */
const DEPTH_MAX = 10;

const FENCE = /```(?:([a-z0-9_+#.-]+)\n)?([^]*?)\n?```/iy;
const HEADING = /(#{1,3}) +([^\n]+)/y;
const SUBTEXT = /-# +([^\n]+)/y;
const QUOTE = /(?:> ?[^\n]*(?:\n(?=> )|$|(?=\n)))+/y;
const LIST = /( *)([-*]|\d{1,9}\.) +\S/y;
const LIST_LINE = /^( *)(?:([-*])|(\d{1,9})\.) +(.*)$/;
const MENTION = /<(@!?|@&|#)(\d{1,20})>/y;
const TIME = /<t:(-?\d{1,13})(?::([tTdDfFRsS]))?>/y;
const EMOJI = /<a?:(\w{2,32}):\d{1,20}>/y;
const COMMAND = /<\/([^:>\n]{1,100}):\d{1,20}>/y;
const URL_PLAIN = /https?:\/\/[^\s<>"]+/iy;
const URL_QUIET = /<(https?:\/\/[^\s<>"]+)>/iy;
const EVERYONE = /@(?:everyone|here)\b/y;
const PUNCTUATION = /[!-/:-@[-`{-~]/;
const WORD = /[\p{L}\p{N}_]/u;
const ONLY_EMOJI = /^[\p{Extended_Pictographic}\u{FE0F}\u{200D}\u{1F3FB}-\u{1F3FF}\s]{1,80}$/u;
const AN_EMOJI = /\p{Extended_Pictographic}/u;

function match(pattern, source, at) {
  pattern.lastIndex = at;
  return pattern.exec(source);
}

/** A tree of `{type, ..}`; text stands in `text`, what is inside in `children`. */
export function parse(source, depth = 0) {
  const out = [];
  let plain = "";
  let at = 0;
  const flush = (beforeBlock) => {
    const text = beforeBlock ? plain.replace(/\n$/, "") : plain;
    if (text) out.push(...inline(text, depth));
    plain = "";
  };
  const block = (node, end) => {
    flush(true);
    out.push(node);
    at = source[end] === "\n" ? end + 1 : end;
  };
  while (at < source.length) {
    if (source[at] === "\\") {
      plain += source.slice(at, at + 2);
      at += 2;
      continue;
    }
    if (source.startsWith("```", at)) {
      const fence = match(FENCE, source, at);
      if (fence && fence[2].trim()) {
        block({ type: "block", language: fence[1]?.toLowerCase() ?? "", text: fence[2].replace(/^\n/, "") }, FENCE.lastIndex);
        continue;
      }
    }
    if (source[at] === "`") {
      const end = codeEnd(source, at)?.end ?? at + ticks(source, at);
      plain += source.slice(at, end);
      at = end;
      continue;
    }
    if ((at === 0 || source[at - 1] === "\n") && depth < DEPTH_MAX) {
      const found = lineBlock(source, at, depth);
      if (found) {
        block(found.node, found.end);
        continue;
      }
    }
    plain += source[at++];
  }
  flush(false);
  return out;
}

/** What only stands at the start of a line. */
function lineBlock(source, at, depth) {
  if (source.startsWith(">>> ", at)) {
    return { node: { type: "quote", children: parse(source.slice(at + 4), depth + 1) }, end: source.length };
  }
  if (source.startsWith("> ", at)) {
    const quote = match(QUOTE, source, at);
    const text = quote[0].replace(/\n$/, "").replace(/^> ?/gm, "");
    const end = at + quote[0].replace(/\n$/, "").length;
    return { node: { type: "quote", children: parse(text, depth + 1) }, end };
  }
  const heading = match(HEADING, source, at);
  if (heading) {
    return { node: { type: "heading", level: heading[1].length, children: inline(heading[2], depth + 1) }, end: HEADING.lastIndex };
  }
  const subtext = match(SUBTEXT, source, at);
  if (subtext) return { node: { type: "subtext", children: inline(subtext[1], depth + 1) }, end: SUBTEXT.lastIndex };
  if (match(LIST, source, at)) return list(source, at, depth);
  return null;
}

/** Consecutive lines that begin with a mark; deeper indentation is a list inside the item before it. */
function list(source, at, depth) {
  const lines = [];
  let end = at;
  for (const line of source.slice(at).split("\n")) {
    const parts = LIST_LINE.exec(line);
    if (!parts) break;
    const next = { indent: parts[1].length, number: parts[3], text: parts[4] };
    // Numbers after dashes are a list of their own.
    if (lines.length && next.indent <= lines[0].indent && (next.number === undefined) !== (lines[0].number === undefined)) break;
    lines.push(next);
    end += line.length + 1;
  }
  return { node: nest(lines, depth), end: end - 1 };
}

function nest(lines, depth) {
  const [{ indent, number }] = lines;
  const node = { type: "list", ordered: number !== undefined, start: Number(number ?? 1), items: [] };
  for (let place = 0; place < lines.length; ) {
    let next = place + 1;
    while (next < lines.length && lines[next].indent > indent) next++;
    const inner = lines.slice(place + 1, next);
    const children = inline(lines[place].text, depth + 1);
    if (inner.length) children.push(depth < DEPTH_MAX ? nest(inner, depth + 1) : text(inner.map((line) => line.text).join(" ")));
    node.items.push(children);
    place = next;
  }
  return node;
}

const text = (value) => ({ type: "text", text: value });

/** Marks in a run of text, longest mark first. */
const MARKS = [
  ["||", "spoiler"],
  ["~~", "strike"],
  ["**", "bold"],
  ["__", "underline"],
  ["*", "italic"],
  ["_", "italic"],
];

function inline(source, depth) {
  if (depth > DEPTH_MAX) return [text(source)];
  const out = [];
  let plain = "";
  let at = 0;
  const push = (node, end) => {
    if (plain) out.push(text(plain));
    plain = "";
    out.push(node);
    at = end;
  };
  // A mark without an end has none further on either; not asking again keeps hostile text linear.
  const unclosed = new Set();
  while (at < source.length) {
    const character = source[at];
    if (character === "\\" && PUNCTUATION.test(source[at + 1] ?? "")) {
      plain += source[at + 1];
      at += 2;
      continue;
    }
    const found = special(source, at, depth, unclosed);
    if (found) push(found.node, found.end);
    else {
      const length = character === "`" ? ticks(source, at) : 1;
      plain += source.slice(at, at + length);
      at += length;
    }
  }
  if (plain) out.push(text(plain));
  return out;
}

function special(source, at, depth, unclosed) {
  switch (source[at]) {
    case "`": {
      const code = codeEnd(source, at);
      return code && { node: { type: "code", text: code.text }, end: code.end };
    }
    case "<":
      return angle(source, at);
    case "[":
      return masked(source, at, depth);
    case "@": {
      const everyone = match(EVERYONE, source, at);
      return everyone && { node: { type: "everyone", text: everyone[0] }, end: EVERYONE.lastIndex };
    }
    case "h":
    case "H":
      return at > 0 && WORD.test(source[at - 1]) ? null : bareUrl(source, at);
    case "|":
    case "~":
    case "*":
    case "_":
      return marked(source, at, depth, unclosed);
    default:
      return null;
  }
}

/** How many backticks stand here. */
function ticks(source, at) {
  let count = 1;
  while (source[at + count] === "`") count++;
  return count;
}

/** The end of a code span: as many backticks as it began with. */
function codeEnd(source, at) {
  const width = ticks(source, at);
  const mark = "`".repeat(width);
  let close = source.indexOf(mark, at + width);
  while (close >= 0 && source[close + width] === "`") {
    while (source[close] === "`") close++;
    close = source.indexOf(mark, close);
  }
  if (close < 0) return null;
  const inside = source.slice(at + width, close);
  // A space next to a backtick only keeps it apart from the mark.
  const shown = inside.replace(/^ (?=`)/, "").replace(/(?<=`) $/, "");
  return { text: shown, end: close + width };
}

function angle(source, at) {
  const mention = match(MENTION, source, at);
  if (mention) {
    const type = { "@": "user", "@!": "user", "@&": "role", "#": "channel" }[mention[1]];
    return { node: { type, id: mention[2] }, end: MENTION.lastIndex };
  }
  const time = match(TIME, source, at);
  if (time) return { node: { type: "time", seconds: Number(time[1]), style: time[2] ?? "f" }, end: TIME.lastIndex };
  const emoji = match(EMOJI, source, at);
  if (emoji) return { node: text(`:${emoji[1]}:`), end: EMOJI.lastIndex };
  const command = match(COMMAND, source, at);
  if (command) return { node: { type: "command", name: command[1] }, end: COMMAND.lastIndex };
  const quiet = match(URL_QUIET, source, at);
  if (quiet) return { node: { type: "link", url: quiet[1], children: [text(quiet[1])] }, end: URL_QUIET.lastIndex };
  return null;
}

function bareUrl(source, at) {
  const found = match(URL_PLAIN, source, at);
  if (!found) return null;
  let url = found[0].replace(/[.,:;!?'*_~|\]]+$/, "");
  // A closing bracket belongs to the sentence unless the address opened one.
  while (url.endsWith(")") && url.split("(").length < url.split(")").length) url = url.slice(0, -1);
  return { node: { type: "link", url, children: [text(url)] }, end: at + url.length };
}

const MASKED = /\[([^\]\n]{1,300})\]\(<?(https?:\/\/[^\s<>()"]+(?:\([^\s<>()"]*\)[^\s<>()"]*)*)>?(?: "[^"\n]*")?\)/iy;

function masked(source, at, depth) {
  const found = match(MASKED, source, at);
  if (!found) return null;
  const end = MASKED.lastIndex;
  return { node: { type: "link", url: found[2], children: inline(found[1], depth + 1).map(unlink) }, end };
}

/** A link inside a link is its text. */
function unlink(node) {
  return node.type === "link" ? text(node.url) : node;
}

function marked(source, at, depth, unclosed) {
  for (const [mark, type] of MARKS) {
    if (!source.startsWith(mark, at) || unclosed.has(mark)) continue;
    if (mark === "*" && /\s/.test(source[at + 1] ?? " ")) continue;
    if (mark === "_" && at > 0 && WORD.test(source[at - 1])) continue;
    const close = closing(source, at + mark.length, mark);
    if (close < 0) {
      unclosed.add(mark);
      continue;
    }
    if (close === at + mark.length) continue;
    const children = inline(source.slice(at + mark.length, close), depth + 1);
    return { node: { type, children }, end: close + mark.length };
  }
  return null;
}

function closing(source, from, mark) {
  const letter = mark[0];
  for (let at = from; at < source.length; at++) {
    if (source[at] === "\\") {
      at++;
    } else if (source[at] === "`") {
      at = (codeEnd(source, at)?.end ?? at + ticks(source, at)) - 1;
    } else if (source[at] === letter) {
      let run = 1;
      while (source[at + run] === letter) run++;
      const fits = mark.length === 1 ? run % 2 === 1 : run >= 2;
      const ends = mark !== "_" || !WORD.test(source[at + run] ?? " ");
      const tight = mark !== "*" || !/\s/.test(source[at - 1]);
      if (fits && ends && tight) return at + run - mark.length;
      at += run - 1;
    }
  }
  return -1;
}

/** Whether a message is nothing but a few emoji, which are shown large. */
export function onlyEmoji(source) {
  return ONLY_EMOJI.test(source) && AN_EMOJI.test(source);
}

/** The text alone, for a preview in one line. */
export function plainText(nodes, names) {
  return nodes.map((node) => plain(node, names)).join("").replace(/\s+/g, " ").trim();
}

function plain(node, names) {
  const inside = (nodes) => nodes.map((node) => plain(node, names)).join("");
  switch (node.type) {
    case "user":
      return `@${names.user(node.id)}`;
    case "role":
      return `@${names.role(node.id)}`;
    case "channel":
      return `#${names.channel(node.id)}`;
    case "time":
      return clockText(node.seconds, node.style);
    case "command":
      return `/${node.name}`;
    case "spoiler":
      return "▇▇▇▇";
    case "list":
      return ` ${node.items.map(inside).join(" ")} `;
    case "quote":
    case "heading":
    case "subtext":
      return ` ${inside(node.children)} `;
    case "block":
      return ` ${node.text} `;
    default:
      return node.children ? inside(node.children) : node.text;
  }
}

const STYLES = {
  t: { timeStyle: "short" },
  T: { timeStyle: "medium" },
  d: { dateStyle: "short" },
  D: { dateStyle: "long" },
  f: { dateStyle: "long", timeStyle: "short" },
  F: { dateStyle: "full", timeStyle: "short" },
  s: { dateStyle: "short", timeStyle: "short" },
  S: { dateStyle: "short", timeStyle: "medium" },
};

const RELATIVE = new Intl.RelativeTimeFormat(undefined, { numeric: "auto" });

// Making a formatter takes longer than everything else about a message, so each is made once.
const formatters = new Map();

function formatter(style) {
  if (!formatters.has(style)) formatters.set(style, new Intl.DateTimeFormat(undefined, STYLES[style]));
  return formatters.get(style);
}

const STEPS = [
  ["year", 31_557_600],
  ["month", 2_629_800],
  ["day", 86_400],
  ["hour", 3_600],
  ["minute", 60],
  ["second", 1],
];

export function clockText(seconds, style, now = Date.now()) {
  const date = new Date(seconds * 1000);
  if (Number.isNaN(date.getTime())) return "Invalid date";
  if (style !== "R") return formatter(style).format(date);
  const away = seconds - Math.round(now / 1000);
  const [unit, size] = STEPS.find(([, size]) => Math.abs(away) >= size) ?? STEPS.at(-1);
  return RELATIVE.format(Math.round(away / size), unit);
}
