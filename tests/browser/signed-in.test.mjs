// The dashboard as somebody sees it who has signed in with (the simulated) Discord: bob manages Garage and not Wonderland.
// By keyboard alone, from the first page to the last.
import assert from "node:assert/strict";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { gunzipSync } from "node:zlib";
import { freePort, startBrowser, startPlayground } from "./program.mjs";
import { isLight, tabTo, tooWide, violations, window } from "./stage.mjs";

let folder, playground, dashboard, browser, page, garage, wonderland;
const problems = [];

const answers = (chat) => chat.locator("[data-message]").filter({ has: chat.locator(".is-bot") });

/** Goes to the dashboard, and says who one is where Discord asks. */
async function signIn(page, name) {
  await page.goto(`${dashboard}/servers`);
  await page.waitForURL(/\/oauth2\/authorize\?/u);
  await tabTo(page.getByRole("link", { name, exact: true }));
  await page.keyboard.press("Enter");
  await page.waitForURL(`${dashboard}/servers`);
}

async function follow(page, name) {
  await tabTo(page.getByRole("link", { name, exact: true }));
  await page.keyboard.press("Enter");
}

before(async () => {
  folder = await mkdtemp(join(tmpdir(), "mneme-browser-"));
  const port = await freePort();
  dashboard = `http://127.0.0.1:${port}`;
  [playground, browser] = await Promise.all([startPlayground(folder, ["--http", String(port), "--sign-in"]), startBrowser()]);
  const chat = await window(browser, problems);
  await chat.goto(playground.address);
  await chat.getByRole("button", { name: "Garage" }).click();
  await chat.waitForFunction(() => document.getElementById("place-name").textContent === "Garage");
  for (const line of [".remember torque is 110 Nm", ".mem edit torque is 120 Nm", ".remember jack is under the bench", ".rem torque"]) {
    const known = await answers(chat).count();
    await chat.locator("#input").fill(line);
    await chat.keyboard.press("Enter");
    await answers(chat).nth(known).waitFor();
  }
  await chat.context().close();
  page = await window(browser, problems);
});

after(async () => {
  await browser?.close();
  await playground?.kill();
  if (folder) await rm(folder, { recursive: true, force: true });
});

test("the way in leads over Discord, and back to the servers that somebody manages", async () => {
  await signIn(page, "bob");
  assert.deepEqual(await page.locator("td a").allInnerTexts(), ["Garage"]);
  assert.deepEqual(await page.getByRole("navigation", { name: "Pages" }).getByRole("link").allInnerTexts(), ["Servers"]);
  assert.match(await page.locator(".who").innerText(), /bob/u);
  assert.deepEqual(await violations(page), []);
  garage = await page.getByRole("link", { name: "Garage" }).getAttribute("href");
});

test("what is not theirs is not shown to them", async () => {
  const owner = await window(browser, problems);
  await signIn(owner, "alice");
  wonderland = await owner.getByRole("link", { name: "Wonderland" }).getAttribute("href");
  assert.deepEqual(await owner.locator("td a").allInnerTexts(), ["Wonderland"]);
  await owner.context().close();
  const status = async (path) => (await page.request.get(dashboard + path)).status();
  for (const path of ["/", "/costs", "/reminders", "/shared", "/relay", "/errors", "/numbers", "/metrics"]) assert.equal(await status(path), 403, path);
  for (const part of ["", "/memories", "/memory?key=tea", "/audit", "/settings", "/export"]) {
    assert.equal(await status(wonderland + part), 404, part);
    assert.equal(await status(garage + part.replace("tea", "torque")), 200, part);
  }
});

test("a memory is found, its history is read, and a revision is brought back", async () => {
  await follow(page, "Garage");
  await page.getByRole("heading", { name: /Garage.*Overview/u }).waitFor();
  assert.deepEqual(await violations(page), []);
  await follow(page, "Memories");
  await page.getByRole("heading", { name: /Garage.*Memories/u }).waitFor();
  assert.deepEqual(await violations(page), []);
  assert.equal(await page.locator("tbody tr").count(), 2);
  await tabTo(page.getByRole("searchbox"));
  await page.keyboard.type("tor");
  await page.keyboard.press("Enter");
  await page.waitForURL(/\?q=tor$/u);
  assert.deepEqual(await page.locator("td a").allInnerTexts(), ["torque"]);
  assert.deepEqual(await violations(page), []);
  await follow(page, "torque");
  await page.getByRole("heading", { name: "torque" }).waitFor();
  assert.equal(await page.locator("pre.value").innerText(), "120 Nm");
  assert.deepEqual(await violations(page), []);
  await tabTo(page.getByRole("button", { name: "Restore revision 1" }));
  await page.keyboard.press("Enter");
  await page.getByRole("status").waitFor();
  assert.equal(await page.locator("pre.value").innerText(), "110 Nm");
  assert.deepEqual(await violations(page), []);
  // Loaded again, the same form changes nothing more.
  await page.reload();
  assert.equal(await page.locator("tbody tr").count(), 3);
});

test("the change is told with the name of who made it", async () => {
  await follow(page, "Changes");
  await page.getByRole("heading", { name: /Garage.*Changes/u }).waitFor();
  const told = await page.locator(".answer").innerText();
  assert.match(told, /restore/u);
  assert.match(told, /bob/u);
  assert.deepEqual(await violations(page), []);
  await follow(page, "Settings");
  await page.getByRole("heading", { name: /Garage.*Settings/u }).waitFor();
  assert.deepEqual(await violations(page), []);
});

test("an export holds what the server remembers", async () => {
  const download = page.waitForEvent("download");
  await follow(page, "Export");
  const file = await readFile(await (await download).path());
  const text = gunzipSync(file).toString();
  assert.match(text, /110 Nm/u);
  assert.match(text, /under the bench/u);
});

test("each page is light", async () => {
  for (const path of ["/servers", garage, `${garage}/memories`, `${garage}/memory?key=torque`, `${garage}/audit`, `${garage}/settings`]) await isLight(page, dashboard + path);
});

for (const [name, options] of [
  ["on a phone, in the dark", { viewport: { width: 390, height: 844 }, isMobile: true, hasTouch: true, colorScheme: "dark" }],
  ["on a desk, in the dark", { colorScheme: "dark" }],
]) {
  test(`each page fits, ${name}`, async () => {
    const other = await window(browser, problems, options);
    await signIn(other, "bob");
    for (const path of ["/servers", garage, `${garage}/memories`, `${garage}/memory?key=torque`, `${garage}/audit`, `${garage}/settings`]) {
      await other.goto(dashboard + path);
      const wide = await tooWide(other);
      assert.ok(wide <= 0, `${path}: ${wide} pixels too wide`);
      assert.deepEqual(await violations(other), [], path);
    }
    await other.context().close();
  });
}

test("somebody signs out, and is out", async () => {
  await page.goto(`${dashboard}/servers`);
  await tabTo(page.getByRole("button", { name: "Sign out" }));
  await page.keyboard.press("Enter");
  await page.getByText("You are signed out.").waitFor();
  assert.deepEqual(await violations(page), []);
  assert.equal((await page.request.get(`${dashboard}${garage}/memories`, { maxRedirects: 0 })).status(), 401);
  await follow(page, "Sign in again");
  await page.waitForURL(/\/oauth2\/authorize\?/u);
  assert.deepEqual(await violations(page), []);
});

test("the browser had nothing to complain about", () => assert.deepEqual(problems, []));
