// Discord's Markdown, as a table of texts and trees. A tree is written like `bold(a italic(b))`.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./load.mjs";

const { clockText, onlyEmoji, parse, plainText } = await load("markdown.js");

function shape(nodes) {
  return nodes.map(one).join("");
}

function one(node) {
  switch (node.type) {
    case "text":
      return node.text;
    case "code":
      return `code(${node.text})`;
    case "block":
      return `block:${node.language}(${node.text})`;
    case "list":
      return `${node.ordered ? `list${node.start}` : "list"}(${node.items.map(shape).join("|")})`;
    case "link":
      return `link:${node.url}(${shape(node.children)})`;
    case "heading":
      return `h${node.level}(${shape(node.children)})`;
    case "user":
    case "role":
    case "channel":
      return `${node.type}:${node.id}`;
    case "time":
      return `time:${node.seconds}:${node.style}`;
    case "everyone":
      return `everyone(${node.text})`;
    case "command":
      return `command(${node.name})`;
    default:
      return `${node.type}(${shape(node.children)})`;
  }
}

const CASES = [
  ["plain", "plain"],
  ["", ""],
  ["**bold** *a* _b_ __under__ ~~gone~~ ||hush||", "bold(bold) italic(a) italic(b) underline(under) strike(gone) spoiler(hush)"],
  ["***both***", "bold(italic(both))"],
  ["**bold *and italic***", "bold(bold italic(and italic))"],
  ["__*a*__", "underline(italic(a))"],
  ["**open", "**open"],
  ["2 * 3 * 4", "2 * 3 * 4"],
  ["snake_case_name", "snake_case_name"],
  ["\\*not italic\\*", "*not italic*"],
  ["`**code**`", "code(**code**)"],
  ["`` a`b ``", "code( a`b )"],
  ["`` `key` ``", "code(`key`)"],
  ["**a `**` b**", "bold(a code(**) b)"],
  ["```rust\nfn main() {}\n```", "block:rust(fn main() {})"],
  ["```\nplain\n```after", "block:(plain)after"],
  ["before ```one line``` after", "before block:(one line) after"],
  ["```diff\n- a\n+ b\n```", "block:diff(- a\n+ b)"],
  ["```open", "```open"],
  ["> quoted\n> **more**\nout", "quote(quoted\nbold(more))out"],
  ["> quoted\n\nout", "quote(quoted)\nout"],
  [">>> all\nof it", "quote(all\nof it)"],
  ["> ```\n> code\n> ```", "quote(block:(code))"],
  ["a > b", "a > b"],
  ["# One\n## Two\n### Three\n#### four", "h1(One)h2(Two)h3(Three)#### four"],
  ["#no heading", "#no heading"],
  ["-# small *print*", "subtext(small italic(print))"],
  ["above\n-# below", "abovesubtext(below)"],
  ["- a\n- b\n  - c\n- d", "list(a|blist(c)|d)"],
  ["3. a\n4. b", "list3(a|b)"],
  ["- a\n1. b", "list(a)list1(b)"],
  ["- a\ntext", "list(a)text"],
  ["-not a list", "-not a list"],
  ["<@123> <@!123> <@&45> <#6>", "user:123 user:123 role:45 channel:6"],
  ["<t:1700000000> <t:1700000000:R>", "time:1700000000:f time:1700000000:R"],
  ["<t:now>", "<t:now>"],
  ["@everyone @here me@everyone.example", "everyone(@everyone) everyone(@here) meeveryone(@everyone).example"],
  ["</rem get:123>", "command(rem get)"],
  ["https://a.example/b_c_d.", "link:https://a.example/b_c_d(https://a.example/b_c_d)."],
  ["(https://a.example/x_(y))", "(link:https://a.example/x_(y)(https://a.example/x_(y)))"],
  ["<https://a.example>", "link:https://a.example(https://a.example)"],
  ["[name](https://a.example)", "link:https://a.example(name)"],
  ["[**name**](<https://a.example>)", "link:https://a.example(bold(name))"],
  ["[bad](javascript:alert(1))", "[bad](javascript:alert(1))"],
  ["javascript:alert(1)", "javascript:alert(1)"],
  ["<img src=x onerror=alert(1)>", "<img src=x onerror=alert(1)>"],
];

for (const [source, wanted] of CASES) {
  test(`parses ${JSON.stringify(source)}`, () => assert.equal(shape(parse(source)), wanted));
}

test("no text is lost where nothing is marked", () => {
  const source = "a (b) [c] {d} <e> 'f' \"g\" # h - i 1. j";
  assert.equal(shape(parse(source)), source);
});

test("hostile text is read to its end", () => {
  for (const piece of ["**", "*", "_", "__", "||", "`", "``` ", "> ", "- ", "[", "[a](", "<", "\\", "**a*", "_*", "* a ", "😀", "||`**", "<@", ">>> "]) {
    const source = piece.repeat(4000 / piece.length);
    // Exponential backtracking or endless nesting would not come back from this.
    assert.ok(Array.isArray(parse(source)));
    assert.equal(typeof onlyEmoji(source), "boolean");
  }
});

test("a few emoji alone are large", () => {
  assert.ok(onlyEmoji("🎉 👩‍👩‍👧 ❤️"));
  assert.ok(!onlyEmoji("🎉 yes"));
  assert.ok(!onlyEmoji("   "));
  assert.ok(!onlyEmoji("42"));
});

test("one line keeps names and hides spoilers", () => {
  const names = { user: () => "ann", role: () => "mods", channel: () => "cats" };
  assert.equal(plainText(parse("**Hi** <@1>, see <#2>\n||no||"), names), "Hi @ann, see #cats ▇▇▇▇");
  assert.equal(plainText(parse("# One\ntwo\n> three\n- four\n- five\n```\nsix\n```"), names), "One two three four five six");
});

test("relative times look both ways", () => {
  const now = Date.UTC(2026, 0, 1);
  assert.equal(clockText(now / 1000 - 7200, "R", now), "2 hours ago");
  assert.equal(clockText(now / 1000 + 86_400 * 2, "R", now), "in 2 days");
  assert.equal(clockText(1e15, "F"), "Invalid date");
});
