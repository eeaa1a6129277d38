// The playground's other half: behind the scenes, what can go wrong, the tour, many pages, what axe finds.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { startBrowser, startPlayground } from "./program.mjs";
import { violations, window } from "./stage.mjs";

/** Pages open at once, and what each may cost the program: most of it is room for its largest frame, the view. */
const PAGES = 200;
const PAGE_BYTES_MAX = 512 * 1024;

let folder, playground, browser, page;
const problems = [];

async function open(options) {
  const page = await window(browser, problems, options);
  await page.goto(playground.address);
  await page.locator("#channels button").first().waitFor({ state: "attached" });
  return page;
}

const messages = (page) => page.locator("[data-message]");
const answers = (page, text) => messages(page).filter({ has: page.locator(".is-bot") }).filter({ hasText: text });
const steps = (page) => page.locator("#backstage .step");

async function say(page, text) {
  await page.locator("#input").fill(text);
  await page.keyboard.press("Enter");
}

async function toggle(page, name) {
  const button = page.locator(`#switch-${name}`);
  const before = await button.getAttribute("aria-checked");
  await button.click();
  await page.locator(`#switch-${name}[aria-checked="${before === "true" ? "false" : "true"}"]`).waitFor();
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "mneme-browser-"));
  [playground, browser] = await Promise.all([startPlayground(folder), startBrowser()]);
  page = await open();
});

after(async () => {
  await browser?.close();
  await playground?.kill();
  if (folder) await rm(folder, { recursive: true, force: true });
});

test("an answer tells its way: the event, the requests with their conditions and units, the reply with its nonce", async () => {
  await page.getByRole("button", { name: "Behind the scenes", exact: true }).click();
  await say(page, ".remember tea is Earl Grey");
  const reply = answers(page, "I'll remember").first();
  await reply.waitFor();
  await steps(page).filter({ hasText: "Message sent: 200" }).waitFor();
  const said = await messages(page).filter({ hasText: ".remember tea is Earl Grey" }).first().getAttribute("data-message");
  const story = (await steps(page).allInnerTexts()).join("\n");
  assert.match(story, /^\d+ ms\s+The gateway told of a message/u);
  assert.match(story, /It is a command, by the server's prefix/u);
  assert.match(story, /Transaction of 2 writes, all or nothing/u);
  assert.match(story, /Put remember\s+only if/u);
  assert.match(story, /Put history/u);
  assert.ok(story.includes(`token ${said}`), story);
  assert.ok(story.includes(`nonce ${said}-0, enforced`), story);
  assert.match(await page.locator(".trail-sum").innerText(), /^\d+ requests to the store · [\d.]+ read and [1-9][\d.]* write units · \d+ ms$/u);
  await page.locator("#backstage summary").first().click();
  assert.match(await page.locator("#backstage details[open] pre").innerText(), /"rem_key": "tea"/u);
});

test("no token of an interaction is told", async () => {
  const frames = [];
  const other = await open();
  other.on("websocket", (socket) => socket.on("framereceived", ({ payload }) => frames.push(String(payload))));
  await other.reload();
  await other.locator("#channels button").first().waitFor();
  await other.getByRole("button", { name: "Behind the scenes", exact: true }).click();
  await other.locator("#input").press("/");
  await other.keyboard.type("ping ");
  await other.keyboard.press("Enter");
  await steps(other).filter({ hasText: "Interaction answered: 200" }).waitFor();
  const told = frames.filter((frame) => frame.startsWith('{"d":{"after_ms"') || frame.includes('"t":"STEP"')).join("\n");
  assert.match(told, /"route":"callback"/u);
  assert.doesNotMatch(told, /token"|authorization|aws4/iu);
  await other.context().close();
});

test("an answer's own menu leads to its way", async () => {
  await say(page, ".rem tea");
  await answers(page, "Earl Grey").first().waitFor();
  await page.locator(".trail-pick").nth(1).waitFor();
  const reply = answers(page, "I'll remember").first();
  await reply.focus();
  await page.keyboard.press("Enter");
  await page.getByRole("menuitem", { name: "Behind the scenes" }).click();
  await steps(page).filter({ hasText: ".remember tea is Earl Grey" }).waitFor();
});

test("with the store away nothing is changed, and that is said", async () => {
  await toggle(page, "away");
  await say(page, ".remember lost is gone");
  await answers(page, /nothing was changed|not.*reach|try again/iu).first().waitFor();
  await steps(page).filter({ hasText: "no reply: connection refused" }).first().waitFor();
  await toggle(page, "away");
  await say(page, ".rem lost");
  await answers(page, "couldn't remember anything for lost").first().waitFor();
});

test("a slow store is waited for", async () => {
  await toggle(page, "slow");
  await say(page, ".remember patience is a virtue");
  await answers(page, "I'll remember patience").first().waitFor();
  await toggle(page, "slow");
});

test("with replies lost each change happens once, and is answered once", async () => {
  await toggle(page, "lost");
  const words = ["ant", "bee", "cat", "dog", "eel", "fox"];
  for (const word of words) {
    await say(page, `.remember ${word} is an animal`);
    await answers(page, `I'll remember ${word}`).first().waitFor();
  }
  await page.locator("#backstage .trail-pick").first().waitFor();
  await toggle(page, "lost");
  for (const word of words) {
    assert.equal(await answers(page, `I'll remember ${word}`).count(), 1, word);
    await say(page, `.mem history ${word}`);
    await answers(page, new RegExp(`${word}[^]*an animal`, "u")).first().waitFor();
  }
});

test("a cut gateway loses nothing that is said meanwhile", async () => {
  await page.locator("#drop-gateway").click();
  await say(page, ".remember drop is survived");
  await answers(page, "I'll remember drop").first().waitFor();
  assert.equal(await answers(page, "I'll remember drop").count(), 1);
});

test("the tour is taken by keyboard alone, from end to end", async () => {
  const visitor = await open();
  await visitor.getByRole("button", { name: "Take the tour", exact: true }).focus();
  await visitor.keyboard.press("Enter");
  const tour = visitor.getByRole("dialog");
  const titles = [];
  for (;;) {
    titles.push(await tour.getByRole("heading").innerText());
    if (titles.length === 1) assert.deepEqual(await violations(visitor), []);
    const act = tour.locator("[data-tour=act]");
    if (await act.count()) {
      assert.ok(await act.evaluate((button) => button === document.activeElement), `${titles.at(-1)}: the button has the focus`);
      await visitor.keyboard.press("Enter");
      if (titles.at(-1) === "Or let it guess") {
        await visitor.getByRole("combobox", { name: "key" }).waitFor();
        await visitor.keyboard.press("Escape");
        await visitor.keyboard.press("Escape");
        await tour.locator("[data-tour=next]").focus();
      }
      if (titles.at(-1) !== "Or let it guess") await tour.getByText(/^\d of \d$/u).waitFor();
    }
    const next = tour.locator("[data-tour=next]");
    const last = (await next.innerText()) === "Done";
    await visitor.keyboard.press("Enter");
    if (last) break;
    await visitor.waitForFunction((title) => document.getElementById("tour-title")?.textContent !== title, titles.at(-1));
  }
  assert.equal(titles.length, 8, titles.join(", "));
  await tour.waitFor({ state: "detached" });
  assert.equal(await visitor.locator('[role=switch][aria-checked="true"]').count(), 0);
  assert.equal(await answers(visitor, "I'll remember cake").count(), 1);
  await visitor.context().close();
});

for (const [name, options] of [
  ["light", { colorScheme: "light" }],
  ["dark", { colorScheme: "dark" }],
  ["on a phone", { viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true }],
]) {
  test(`axe finds nothing serious, ${name}`, async () => {
    const page = await open(options);
    await say(page, ".help");
    await answers(page, "More about one").first().waitFor();
    assert.deepEqual(await violations(page), []);
    await page.getByRole("button", { name: "Behind the scenes", exact: true }).click();
    await say(page, ".rem tea").catch(() => {});
    assert.deepEqual(await violations(page), []);
    await page.keyboard.press("Escape");
    await page.context().close();
  });
}

/** Bytes of memory that the program holds. */
async function memory() {
  return Number(/VmRSS:\s+(\d+) kB/u.exec(await readFile(`/proc/${playground.pid}/status`, "utf8"))[1]) * 1024;
}

test(`${PAGES} pages are open on one bot, and each costs little`, async () => {
  const before = await memory();
  const cost = await page.evaluate(async (pages) => {
    const [person, channel] = location.hash.slice(1).split("/");
    const sockets = [];
    let heard = 0, told;
    const all = new Promise((resolve) => (told = resolve));
    for (let n = 0; n < pages; n++) {
      const socket = new WebSocket(`ws://${location.host}/ws?person=${person}`);
      await new Promise((resolve, reject) => ((socket.onmessage = resolve), (socket.onerror = reject)));
      socket.onmessage = ({ data }) => {
        const { t, d } = JSON.parse(data);
        if (t === "MESSAGE_CREATE" && d.content.includes("all of them hear it") && ++heard === pages) told();
      };
      sockets.push(socket);
    }
    const started = performance.now();
    sockets[0].send(JSON.stringify({ id: 1, act: { act: "say", channel, text: "all of them hear it" } }));
    await all;
    window.crowd = sockets;
    return performance.now() - started;
  }, PAGES);
  const each = ((await memory()) - before) / PAGES;
  console.log(`${PAGES} pages: ${Math.round(each / 1024)} KB each, all told within ${Math.round(cost)} ms`);
  assert.ok(each < PAGE_BYTES_MAX, `${each} bytes each`);
  await page.evaluate(() => window.crowd.forEach((socket) => socket.close()));
});

test("the browser had nothing to complain about", () => {
  assert.deepEqual(problems, []);
});
