// Names of servers and people, messages and embeds that want to be more than text.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { freePort, startBrowser, startPlayground } from "./program.mjs";
import { WAIT_MS, tooWide, window } from "./stage.mjs";

const SCRIPT = '<script>document.title="owned"</script><img src=x onerror=document.title="owned">';
const TURNED = "\u202Etxet desrever\u2066\u2067 <b>";
const HEAP = `heap${"\u0301\u0323\u0489\u20DD".repeat(1_000)}`;
const EMBED = {
  title: `${SCRIPT} ${"t".repeat(200)}`,
  description: `${TURNED} [x](javascript:alert(1)) ${"wide".repeat(900)}`,
  url: "javascript:alert(2)",
  author: { name: SCRIPT },
  footer: { text: HEAP },
  fields: Array.from({ length: 25 }, (_, n) => ({ name: `${TURNED}${n}`, value: HEAP.slice(0, 900), inline: true })),
};

let folder, playground, browser, dashboard;
const problems = [];

/** The playground's world, once it has been written down. */
async function saved() {
  const path = join(folder, "chat.json");
  const until = Date.now() + WAIT_MS;
  while (Date.now() < until) {
    const text = await readFile(path, "utf8").catch(() => null);
    if (text?.includes("a message to spoil")) return [path, text];
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error("the chat was not written down");
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "mneme-browser-"));
  browser = await startBrowser();
  playground = await startPlayground(folder);
  const page = await window(browser, []);
  await page.goto(playground.address);
  await page.locator("#channels button").first().waitFor();
  await page.locator("#input").fill("a message to spoil");
  await page.keyboard.press("Enter");
  let [path, world] = await saved();
  await page.context().close();
  await playground.kill();
  // As text: JavaScript cannot hold the ids in it.
  for (const [name, hostile] of [["Wonderland", SCRIPT], ["Garage", HEAP], ["bob", SCRIPT], ["carol", TURNED], ["dave", HEAP], ["general", SCRIPT]]) {
    const before = world;
    world = world.replaceAll(`"name":"${name}"`, `"name":${JSON.stringify(hostile)}`);
    assert.notEqual(world, before, name);
  }
  world = world.replaceAll('"content":"a message to spoil"', `"content":${JSON.stringify(`${HEAP.slice(0, 1500)} ${TURNED} ${SCRIPT}`)}`).replaceAll('"embeds":[]', `"embeds":[${JSON.stringify(EMBED)}]`);
  await writeFile(path, world);
  const port = await freePort();
  dashboard = `http://127.0.0.1:${port}`;
  playground = await startPlayground(folder, ["--http", String(port)]);
});

after(async () => {
  await browser?.close();
  await playground?.kill();
  if (folder) await rm(folder, { recursive: true, force: true });
});

async function unharmed(page, where) {
  const state = await page.evaluate(() => ({
    injected: document.querySelectorAll('script:not([src^="/assets/"]), iframe, object, embed, img[src="x"], [onerror], [onload], a[href^="javascript"]').length,
    title: document.title,
  }));
  assert.equal(state.injected, 0, where);
  const wide = await tooWide(page);
  assert.ok(wide <= 0, `${where}: ${wide} pixels too wide`);
  assert.notEqual(state.title, "owned", where);
}

for (const [name, options] of [
  ["on a desk", {}],
  ["on a phone", { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true }],
]) {
  test(`the playground shows hostile names and embeds as text, ${name}`, async () => {
    const page = await window(browser, problems, options);
    await page.goto(playground.address);
    const message = page.locator("[data-message]").first();
    await message.waitFor();
    await unharmed(page, "chat");
    assert.equal(await page.locator("#place-name").evaluate((one) => one.textContent), SCRIPT);
    const card = message.locator(".card");
    assert.ok((await card.innerText()).includes("<script>"));
    const spill = await message.evaluate((one) => getComputedStyle(one.querySelector(".content")).overflowY);
    assert.equal(spill, "clip", "marks in heaps do not paint over the neighbours");
    await page.keyboard.press("Control+k");
    await page.getByRole("dialog").waitFor();
    await unharmed(page, "switcher");
    await page.context().close();
  });
}

test("the dashboard shows them as text", async () => {
  const page = await window(browser, problems);
  await page.goto(`${dashboard}/servers`);
  const names = await page.locator("td a .theirs").evaluateAll((all) => all.map((one) => one.textContent));
  assert.deepEqual(new Set(names), new Set([SCRIPT, HEAP]));
  await unharmed(page, "servers");
  for (const link of await page.locator("td a").evaluateAll((all) => all.map((one) => one.href))) {
    for (const part of ["", "/memories", "/audit", "/settings"]) {
      await page.goto(link + part);
      await unharmed(page, part);
    }
  }
  await page.context().close();
});

test("the browser had nothing to complain about", () => assert.deepEqual(problems, []));
