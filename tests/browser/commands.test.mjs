// The slash picker's rules, without a page around them.
import assert from "node:assert/strict";
import { test } from "node:test";
import { load } from "./load.mjs";

const { flatten, messageMenu, nested, readValue, search, typedOut, KIND } = await load("commands.js");

const COMMANDS = [
  {
    id: "1",
    name: "rem",
    description: "Memories",
    type: 1,
    options: [
      { type: 1, name: "get", description: "Recall", options: [{ type: 3, name: "key", required: true }] },
      { type: 2, name: "admin", description: "Care", options: [{ type: 1, name: "clear", description: "Remove all", options: [] }] },
    ],
  },
  { id: "2", name: "ping", description: "Whether I remember to answer", type: 1 },
  { id: "3", name: "Remember this", type: 3 },
];
const ENTRIES = flatten(COMMANDS);
const names = (entries) => entries.map((entry) => entry.name);

test("subcommands are spelled out, menus are apart", () => {
  assert.deepEqual(names(ENTRIES), ["rem get", "rem admin clear", "ping"]);
  assert.deepEqual(names(messageMenu(COMMANDS)), ["Remember this"]);
});

test("the start of a name is found before its middle and its description", () => {
  assert.deepEqual(names(search(ENTRIES, "")), ["ping", "rem admin clear", "rem get"]);
  assert.deepEqual(names(search(ENTRIES, "g")), ["rem get", "ping"]);
  assert.deepEqual(names(search(ENTRIES, "rem")), ["rem admin clear", "rem get", "ping"]);
  assert.deepEqual(names(search(ENTRIES, "rem  GET")), ["rem get"]);
  assert.deepEqual(names(search(ENTRIES, "zebra")), []);
});

test("a whole name and a space choose the command", () => {
  assert.equal(typedOut(ENTRIES, "/rem get ")?.name, "rem get");
  assert.equal(typedOut(ENTRIES, "/ping ")?.name, "ping");
  assert.equal(typedOut(ENTRIES, "/rem "), undefined);
  assert.equal(typedOut(ENTRIES, "/rem get"), undefined);
});

test("options are nested as Discord nests them", () => {
  const value = { name: "key", type: 3, value: "tea" };
  assert.deepEqual(nested(ENTRIES[0], [value]), [{ name: "get", type: 1, options: [value] }]);
  assert.deepEqual(nested(ENTRIES[1], []), [{ name: "admin", type: 2, options: [{ name: "clear", type: 1, options: [] }] }]);
  assert.deepEqual(nested(ENTRIES[2], []), []);
});

test("values are read, and what is wrong is said", () => {
  const whole = { name: "count", type: KIND.INTEGER, min_value: 1, max_value: 3 };
  assert.equal(readValue(whole, " 2 "), 2);
  assert.throws(() => readValue(whole, "4"), /at most 3/);
  assert.throws(() => readValue(whole, "0"), /at least 1/);
  assert.throws(() => readValue(whole, "1.5"), /whole number/);
  assert.throws(() => readValue(whole, ""), /whole number/);
  assert.equal(readValue({ name: "share", type: KIND.NUMBER }, "0.5"), 0.5);
  assert.equal(readValue({ name: "raw", type: KIND.BOOLEAN }, "Yes"), true);
  assert.throws(() => readValue({ name: "raw", type: KIND.BOOLEAN }, "maybe"), /True or False/);
  assert.equal(readValue({ name: "key", type: KIND.TEXT }, " kept "), " kept ");
  assert.throws(() => readValue({ name: "key", type: KIND.TEXT, max_length: 3 }, "four"), /at most 3/);
});
