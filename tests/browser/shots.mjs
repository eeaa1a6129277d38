// Takes the pictures of README and docs: `node shots.mjs` after `cargo build`. Look at them before you commit them.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort, startBrowser, startPlayground } from "./program.mjs";
import { window } from "./stage.mjs";

/** Looks of the dashboard at its numbers before it is drawn; there is one every ten seconds. */
const LOOKS = 9;

const DOCS = fileURLToPath(new URL("../../docs/", import.meta.url));
const folder = await mkdtemp(join(tmpdir(), "mneme-shots-"));
const port = await freePort();
// A short path: it is in the picture.
process.chdir(folder);
const [playground, browser] = await Promise.all([startPlayground("data", ["--http", String(port)]), startBrowser()]);

async function open(options) {
  const page = await window(browser, [], { viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1.5, ...options });
  await page.goto(playground.address);
  await page.locator("#channels button").first().waitFor({ state: "attached" });
  return page;
}

const answers = (page) => page.locator("[data-message]").filter({ has: page.locator(".is-bot") });

/** Says a line and waits for the answer to it; a long conversation keeps a window, so messages are told by their ids. */
async function ask(page, text) {
  const last = await answers(page).last().getAttribute("data-message").catch(() => null);
  await page.locator("#input").fill(text);
  await page.keyboard.press("Enter");
  await page.waitForFunction((last) => {
    const all = [...document.querySelectorAll("[data-message]")];
    const one = all.at(-1);
    return one?.querySelector(".author.is-bot") && one.dataset.message !== last;
  }, last);
}

const settle = (page) => page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));

async function shot(page, name) {
  await page.mouse.move(0, 0);
  await settle(page);
  await page.screenshot({ path: join(DOCS, `${name}.png`) });
  console.log(`docs/${name}.png`);
}

const chat = await open({ colorScheme: "dark" });
await chat.getByRole("button", { name: "Close this hint" }).click();
for (const line of [".remember wifi is correct horse battery staple, on every floor", ".rem wifi", ".mem edit wifi is hunter2, since Monday", ".mem history wifi"]) await ask(chat, line);
await shot(chat, "playground");
await chat.getByRole("button", { name: "Behind the scenes", exact: true }).click();
await chat.locator("#switch-lost").click();
await ask(chat, ".remember tea is Earl Grey, two minutes");
await chat.locator("#backstage .step").filter({ hasText: "Message sent: 200" }).last().waitFor();
await shot(chat, "backstage");
await chat.locator("#switch-lost").click();

const page = await window(browser, [], { viewport: { width: 1280, height: 860 }, deviceScaleFactor: 1.5, colorScheme: "light" });
const looks = async () => (await page.goto(`http://127.0.0.1:${port}/`), page.locator("polyline").first().evaluate((line) => line.points.numberOfItems));
// The plot needs some looks at the numbers, and something to see.
for (let n = 0; (await looks()) < LOOKS; n++) {
  for (let times = n % 4; times >= 0; times--) await ask(chat, `.rem ${["tea", "wifi", "coffee"][n % 3]}`);
}
await shot(page, "dashboard");
await page.goto(`http://127.0.0.1:${port}/servers`);
await page.getByRole("link", { name: "Wonderland" }).click();
await page.getByRole("link", { name: "Memories" }).click();
await page.getByRole("link", { name: "wifi" }).click();
await shot(page, "memory");
await browser.close();
await playground.kill();
await rm(folder, { recursive: true, force: true });
