// What the tests of the pages have in common: a browser page that keeps what the console says, and axe.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

/** A laptop under load is slow, but not this slow. */
export const WAIT_MS = 20_000;

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** What axe calls serious or worse, as one line each. Evaluated from outside: the page's own policy stays. */
export async function violations(page) {
  await page.evaluate(AXE);
  const found = await page.evaluate(async () => {
    const { violations } = await window.axe.run(document, { resultTypes: ["violations"] });
    return violations.map(({ id, impact, nodes }) => ({ id, impact, nodes: nodes.map((node) => `${node.target.join(" ")}: ${node.failureSummary}`) }));
  });
  return found.filter(({ impact }) => impact === "serious" || impact === "critical").map(({ id, nodes }) => `${id} at ${nodes.join("; ")}`);
}

/** A new window of this browser; everything its console complains of goes to `problems`. */
export async function window(browser, problems, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 800 }, permissions: ["clipboard-read", "clipboard-write"], ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(WAIT_MS);
  page.on("console", (message) => ["error", "warning"].includes(message.type()) && problems.push(message.text()));
  page.on("pageerror", (error) => problems.push(error.stack));
  return page;
}

/** What a page may weigh on its way to the browser. */
const PAGE_BYTES_MAX = 150_000;

/** Goes there and weighs all that comes with it. */
export async function isLight(page, address) {
  const sizes = [];
  const weigh = async (response) => sizes.push((await response.request().sizes()).responseBodySize);
  const finished = (request) => request.response().then((response) => response && weigh(response)).catch(() => {});
  page.on("requestfinished", finished);
  await page.goto(address, { waitUntil: "networkidle" });
  page.off("requestfinished", finished);
  const weight = sizes.reduce((sum, size) => sum + size, 0);
  console.log(`${new URL(address).pathname}: ${weight} bytes`);
  assert.ok(weight < PAGE_BYTES_MAX, `${address}: ${weight} bytes`);
}

/** Presses of Tab after which there is no way. */
const TABS_MAX = 100;

/** Goes there as somebody without a mouse does. */
export async function tabTo(locator) {
  await locator.waitFor();
  for (let n = 0; n < TABS_MAX; n++) {
    if (await locator.evaluate((one) => one === document.activeElement)) return;
    await locator.page().keyboard.press("Tab");
  }
  assert.fail(`no way by Tab to ${locator}`);
}

/** How many pixels a page is wider than its window. A phone makes room for what is too wide, so its own word is not taken. */
export async function tooWide(page) {
  return (await page.evaluate(() => document.documentElement.scrollWidth)) - page.viewportSize().width;
}
