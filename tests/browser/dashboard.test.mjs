// The dashboard as whoever sits at the machine sees it: every page, by keyboard, on a phone; hostile names in both faces.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { freePort, startBrowser, startPlayground } from "./program.mjs";
import { violations, window } from "./stage.mjs";

/** What a page may weigh on its way to the browser. */
const PAGE_BYTES_MAX = 150_000;

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

let folder, playground, dashboard, browser, chat, page;
const problems = [];

const answers = (text) => chat.locator("[data-message]").filter({ has: chat.locator(".is-bot") }).filter({ hasText: text });

/** Says a line and waits for the bot's answer to it. */
async function ask(text) {
  const known = await answers("").count();
  await chat.locator("#input").fill(text);
  await chat.keyboard.press("Enter");
  await answers("").nth(known).waitFor();
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "mneme-browser-"));
  const port = await freePort();
  dashboard = `http://127.0.0.1:${port}`;
  [playground, browser] = await Promise.all([startPlayground(folder, ["--http", String(port)]), startBrowser()]);
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

const PAGES = ["/", "/servers", "/costs", "/reminders", "/shared", "/errors", "/numbers"];

for (const path of PAGES) {
  test(`${path} is shown, is light, and axe finds nothing serious`, async () => {
    const sizes = [];
    const weigh = async (response) => sizes.push((await response.request().sizes()).responseBodySize);
    page.on("requestfinished", (request) => request.response().then((response) => response && weigh(response)).catch(() => {}));
    await page.goto(dashboard + path, { waitUntil: "networkidle" });
    assert.equal(await page.locator("nav [aria-current=page]").count(), 1);
    assert.equal(await page.locator("script").count(), 0);
    assert.deepEqual(await violations(page), []);
    const weight = sizes.reduce((sum, size) => sum + size, 0);
    console.log(`${path}: ${weight} bytes`);
    assert.ok(weight < PAGE_BYTES_MAX, `${weight} bytes`);
    page.removeAllListeners("requestfinished");
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
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${address}: ${wide} pixels too wide`);
  }
  assert.equal(await chat.locator("#messages :is(script, iframe), #messages img[src=x]").count(), 0);
});

test("on a phone every page fits", async () => {
  const phone = await window(browser, problems, { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, colorScheme: "dark" });
  for (const path of PAGES) {
    await phone.goto(dashboard + path);
    const wide = await phone.evaluate(() => document.documentElement.scrollWidth - innerWidth);
    assert.ok(wide <= 0, `${path}: ${wide} pixels too wide`);
    assert.deepEqual(await violations(phone), []);
  }
  await phone.context().close();
});

test("the browser had nothing to complain about", () => {
  assert.deepEqual(problems, []);
});
