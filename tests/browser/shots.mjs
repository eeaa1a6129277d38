// Takes the pictures of README and docs: `node shots.mjs` after `cargo build`. Look at them before you commit them.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort, startBrowser, startPlayground } from "./program.mjs";
import { window } from "./stage.mjs";

const DOCS = fileURLToPath(new URL("../../docs/", import.meta.url));
const folder = await mkdtemp(join(tmpdir(), "mneme-shots-"));
const port = await freePort();
const [playground, browser] = await Promise.all([startPlayground(folder, ["--http", String(port)]), startBrowser()]);

async function open(options) {
  const page = await window(browser, [], { viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1.5, ...options });
  await page.goto(playground.address);
  await page.locator("#channels button").first().waitFor({ state: "attached" });
  return page;
}

const answers = (page) => page.locator("[data-message]").filter({ has: page.locator(".is-bot") });

async function ask(page, text) {
  const known = await answers(page).count();
  await page.locator("#input").fill(text);
  await page.keyboard.press("Enter");
  await answers(page).nth(known).waitFor();
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
await ask(chat, ".remember wifi is `correct horse battery staple`, on every floor");
await ask(chat, ".rem wifi");
await ask(chat, ".mem edit wifi is `hunter2`, since Monday");
await ask(chat, ".mem history wifi");
await shot(chat, "playground");
await chat.getByRole("button", { name: "Behind the scenes", exact: true }).click();
await chat.locator("#switch-lost").click();
await ask(chat, ".remember tea is Earl Grey, two minutes");
await chat.locator("#backstage .step").filter({ hasText: "Message sent: 200" }).last().waitFor();
await shot(chat, "backstage");
await chat.locator("#switch-lost").click();
await ask(chat, ".rem tea");
await ask(chat, ".rem coffee");
const page = await window(browser, [], { viewport: { width: 1280, height: 860 }, deviceScaleFactor: 1.5, colorScheme: "light" });
await page.goto(`http://127.0.0.1:${port}/`);
await shot(page, "dashboard");
await page.goto(`http://127.0.0.1:${port}/servers`);
await page.getByRole("link", { name: "Wonderland" }).click();
await page.getByRole("link", { name: "Memories" }).click();
await page.getByRole("link", { name: "wifi" }).click();
await shot(page, "memory");
const phone = await open({ viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, colorScheme: "light", deviceScaleFactor: 2 });
await phone.locator("[data-message]").last().waitFor();
await shot(phone, "phone");

await browser.close();
await playground.kill();
await rm(folder, { recursive: true, force: true });
