// The dashboard as whoever sits at the machine sees it: every page, by keyboard, on a phone; hostile names in both faces.
import assert from "node:assert/strict";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { freePort, startBrowser, startPlayground } from "./program.mjs";
import { isLight, tooWide, violations, window } from "./stage.mjs";

/** Names and texts that want to be more than text. */
const HOSTILE = [
  "<script>alert(1)</script>",
  '"><img src=x onerror=alert(2)>',
  "\u202Eevil reversed\u2066\u2067",
  "\u200F\u061C right to left עברית",
  "javascript:alert(3)",
  "{{7*7}} ${7*7} %s",
  `zalgo ${"a\u0301\u0323\u0489".repeat(600)}`,
];

let folder, playground, dashboard, relay, browser, chat, page;
const problems = [];

const answers = (text) => chat.locator("[data-message]").filter({ has: chat.locator(".is-bot") }).filter({ hasText: text });

/** Says a line and waits for the bot's answer to it. */
async function ask(text) {
  const known = await answers("").count();
  await chat.locator("#input").fill(text);
  await chat.keyboard.press("Enter");
  await answers("").nth(known).waitFor();
}

/** A relay with one peer, which is away, and a source that takes what this test says. */
const RELAY = `relay: 1
bots: { hub: {}, laptop: {} }
topics: [ { topic: alerts/** } ]
links:
  - { from: hub, to: laptop, by: table, topics: ["**"] }
  - { from: laptop, to: hub, by: table, topics: ["**"] }
transports: { table: { table: relay_mail } }
`;

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "mneme-browser-"));
  const [port, scripts] = [await freePort(), await freePort()];
  dashboard = `http://127.0.0.1:${port}`;
  relay = `http://127.0.0.1:${scripts}`;
  const tree = join(folder, "relay");
  await mkdir(join(tree, "sources"), { recursive: true });
  await writeFile(join(tree, "relay.yaml"), RELAY);
  await writeFile(join(tree, "sources", "scripts.yaml"), `{ source: scripts, listen: "127.0.0.1:${scripts}", topics: [alerts/**], scope: fleet }\n`);
  const more = ["--http", String(port), "--relay", tree, "--bot-name", "hub"];
  [playground, browser] = await Promise.all([startPlayground(folder, more), startBrowser()]);
  chat = await window(browser, problems);
  await chat.goto(playground.address);
  await chat.locator("#channels button").first().waitFor();
  for (const line of [".remember tea is Earl Grey", ".remember tea is hot", ".mem edit tea is Darjeeling", ".rem tea", ".remind me in 3 hours to stand up"]) await ask(line);
  page = await window(browser, problems);
});

after(async () => {
  await browser?.close();
  await playground?.kill();
  if (folder) await rm(folder, { recursive: true, force: true });
});

const PAGES = ["/", "/servers", "/costs", "/reminders", "/shared", "/relay", "/errors", "/numbers"];

for (const path of PAGES) {
  test(`${path} is shown, is light, and axe finds nothing serious`, async () => {
    await isLight(page, dashboard + path);
    assert.equal(await page.locator("nav [aria-current=page]").count(), 1);
    assert.equal(await page.locator("script").count(), 0);
    assert.deepEqual(await violations(page), []);
  });
}

test("a server's memories are found, and their history is told, by keyboard alone", async () => {
  await page.goto(`${dashboard}/servers`);
  await page.keyboard.press("Tab");
  await page.keyboard.press("Enter");
  assert.equal(await page.evaluate(() => document.activeElement.id), "main");
  await page.getByRole("link", { name: "Wonderland" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("heading", { name: /Wonderland.*Overview/u }).waitFor();
  assert.deepEqual(await violations(page), []);
  await page.getByRole("link", { name: "Memories" }).focus();
  await page.keyboard.press("Enter");
  await page.getByRole("searchbox").focus();
  await page.keyboard.type("te");
  await page.keyboard.press("Enter");
  await page.getByRole("link", { name: "tea" }).focus();
  await page.keyboard.press("Enter");
  assert.equal(await page.locator("pre.value").innerText(), "Darjeeling");
  const history = await page.getByRole("table").innerText();
  assert.match(history, /Earl Grey/u);
  assert.match(history, /alice/u);
  assert.equal(await page.getByRole("button", { name: /Restore/u }).count(), 0, "nothing is changed without a sign-in");
  assert.deepEqual(await violations(page), []);
  for (const name of ["Changes", "Settings"]) {
    await page.getByRole("link", { name }).click();
    await page.getByRole("heading", { name: new RegExp(`Wonderland.*${name}`, "u") }).waitFor();
    assert.deepEqual(await violations(page), []);
  }
  const download = page.waitForEvent("download");
  await page.getByRole("link", { name: "Export" }).click();
  assert.match((await download).suggestedFilename(), /\.gz$/u);
});

test("hostile keys and values are text in both faces", async () => {
  for (const [place, text] of HOSTILE.entries()) {
    await ask(`.remember "h${place} ${text.slice(0, 60)}" is ${text.slice(0, 1900)}`);
  }
  await page.goto(`${dashboard}/servers`);
  await page.getByRole("link", { name: "Wonderland" }).click();
  await page.getByRole("link", { name: "Memories" }).click();
  const links = page.locator("td a").filter({ hasText: /^h\d /u });
  const addresses = await links.evaluateAll((all) => all.map((one) => one.href));
  assert.equal(addresses.length, HOSTILE.length);
  for (const address of addresses) {
    await page.goto(address);
    const place = Number(/key=h(\d)/u.exec(address)[1]);
    assert.equal(await page.locator("pre.value .theirs").evaluate((one) => one.textContent), HOSTILE[place].slice(0, 1900).trim());
    assert.equal(await page.locator("main :is(script, img, iframe)").count(), 0);
    const wide = await tooWide(page);
    assert.ok(wide <= 0, `${address}: ${wide} pixels too wide`);
  }
  assert.equal(await chat.locator("#messages :is(script, iframe), #messages img[src=x]").count(), 0);
});

test("the relay's page shows what waits, and hostile subjects as text", async () => {
  for (const text of HOSTILE) {
    const subject = text.slice(0, 300);
    const answer = await fetch(`${relay}/alerts/disk`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ subject }) });
    assert.ok(answer.ok, await answer.text());
  }
  await page.goto(`${dashboard}/relay`);
  const links = page.getByRole("table", { name: "Links" });
  assert.match(await links.innerText(), new RegExp(`laptop\\s+both ways\\s+never seen\\s+${HOSTILE.length}\\b`, "u"));
  const waiting = page.getByRole("table", { name: /What waits/u });
  assert.equal(await waiting.locator("tbody tr").count(), HOSTILE.length);
  for (const text of HOSTILE) assert.ok((await waiting.evaluate((table) => table.textContent)).includes(text.slice(0, 190)), text);
  assert.equal(await page.locator("main :is(script, img, iframe)").count(), 0);
  assert.ok((await tooWide(page)) <= 0);
  assert.deepEqual(await violations(page), []);
});

test("on a phone every page fits", async () => {
  const phone = await window(browser, problems, { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, colorScheme: "dark" });
  for (const path of PAGES) {
    await phone.goto(dashboard + path);
    const wide = await tooWide(phone);
    assert.ok(wide <= 0, `${path}: ${wide} pixels too wide`);
    assert.deepEqual(await violations(phone), []);
  }
  await phone.context().close();
});

test("the browser had nothing to complain about", () => {
  assert.deepEqual(problems, []);
});
