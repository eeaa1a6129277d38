// The playground as a person meets it: the real program, a real browser, no sleeping.
import assert from "node:assert/strict";
import { mkdtemp, rm } from "node:fs/promises";
import { request } from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { startBrowser, startPlayground } from "./program.mjs";
import { tooWide, window as opened } from "./stage.mjs";

/** Messages in the long channel, and how many of them may be in the document. */
const MANY = 2_000;
const WINDOW_MAX = 120;

let folder, playground, browser, page;
const problems = [];

async function open(options = {}) {
  const page = await opened(browser, problems, options);
  await page.goto(playground.address);
  await page.locator("#channels button").first().waitFor({ state: "attached" });
  return page;
}

const messages = (page) => page.locator("[data-message]");

async function say(page, text) {
  await page.locator("#input").fill(text);
  await page.keyboard.press("Enter");
}

/** Says a line and waits for the bot's reply to it. */
async function ask(page, text) {
  const known = await messages(page).evaluateAll((all) => all.map((one) => one.id));
  await say(page, text);
  const id = await page.waitForFunction((known) => {
    const all = [...document.querySelectorAll("[data-message]")];
    const said = all.findIndex((one) => !known.includes(one.id));
    return all.slice(said + 1).find((one) => said >= 0 && one.querySelector(".author.is-bot"))?.id;
  }, known);
  return page.locator(`[id="${await id.jsonValue()}"]`);
}

const textOf = async (message) => (await message.locator(".text").first().innerText()).trim();

async function speakAs(page, name) {
  await page.locator(".me").click();
  await page.getByRole("menuitemradio", { name }).click();
  await page.getByRole("button", { name: `Speaking as ${name}` }).first().waitFor();
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

test("a first visitor is shown two lines and can press them", async () => {
  const hint = page.locator(".hint");
  await hint.getByRole("button", { name: "Tell me something" }).click();
  await messages(page).filter({ hasText: "I'll remember" }).first().waitFor();
  await hint.getByRole("button", { name: "Ask for it" }).click();
  await messages(page).filter({ has: page.locator(".is-bot") }).filter({ hasText: "tomorrow at 10" }).first().waitFor();
  assert.equal(await textOf(await ask(page, ".forget meeting")), "✅ Ok @alice, I'll forget about meeting for you");
  await hint.getByRole("button", { name: "Close this hint" }).click();
  await hint.waitFor({ state: "detached" });
});

test("what is said is remembered and recalled", async () => {
  const reply = await ask(page, ".remember meeting is tomorrow");
  assert.equal(await textOf(reply), "✅ Ok @alice, I'll remember meeting for you");
  assert.equal(await reply.locator(".text code").innerText(), "meeting");
  assert.equal(await reply.locator(".text .mention").innerText(), "@alice");
  await reply.locator("button.origin").waitFor();
  assert.equal(await textOf(await ask(page, ".rem meeting")), "tomorrow");
});

test("a slash command is found, completed and sent by keyboard alone", async () => {
  await page.locator("#input").press("/");
  await page.getByRole("listbox", { name: "Commands" }).waitFor();
  await page.keyboard.type("rem g");
  await page.getByRole("option", { name: "/rem get" }).waitFor();
  await page.keyboard.press("Tab");
  const key = page.getByRole("combobox", { name: "key" });
  await key.waitFor();
  await page.keyboard.type("mee");
  await page.getByRole("option", { name: "meeting" }).waitFor();
  await page.keyboard.press("Tab");
  assert.equal(await key.inputValue(), "meeting");
  await page.keyboard.press("Enter");
  const reply = messages(page).filter({ hasText: "used /rem get" });
  await reply.waitFor();
  assert.equal(await textOf(reply), "tomorrow");
});

test("a required option that is missing is asked for", async () => {
  await page.locator("#input").pressSequentially("/rem get ");
  await page.getByRole("option").first().waitFor();
  await page.keyboard.press("Escape");
  await page.keyboard.press("Enter");
  await page.getByText("key is required").waitFor();
  await page.keyboard.press("Escape");
  await page.locator("#input").waitFor();
});

test("Undo takes a change back", async () => {
  const reply = await ask(page, ".remember tea is hot");
  await reply.getByRole("button", { name: "Undo" }).click();
  await messages(page).filter({ hasText: "Undone" }).first().waitFor();
  assert.match(await textOf(await ask(page, ".rem tea")), /couldn't remember anything for tea/);
});

test("a message can be remembered through its menu and a form", async () => {
  await say(page, "The printer is on the *second* floor");
  const message = messages(page).filter({ hasText: "The printer is on" }).first();
  await message.click({ button: "right" });
  await page.getByRole("menuitem", { name: "Remember this" }).click();
  const form = page.getByRole("dialog");
  await form.getByRole("textbox").first().fill("printer");
  await form.getByRole("button", { name: "Submit" }).click();
  await form.waitFor({ state: "detached" });
  await messages(page).filter({ has: page.locator(".is-bot") }).filter({ hasText: "printer" }).first().waitFor();
  const recalled = await ask(page, ".rem printer");
  assert.equal(await textOf(recalled), "The printer is on the second floor");
  assert.equal(await recalled.locator("em").innerText(), "second");
});

test("text is text, whatever it looks like", async () => {
  const hostile = '<img src=x onerror=alert(1)><script>alert(2)</script> [a](javascript:alert(3)) {{7*7}} "\'><b>';
  await say(page, hostile);
  const message = messages(page).filter({ hasText: "onerror" }).first();
  await message.waitFor();
  assert.equal(await textOf(message), hostile);
  assert.equal(await message.locator(".text *").count(), 0);
});

test("one's last message is edited with Up, and can be deleted", async () => {
  await say(page, "teh last word");
  await messages(page).filter({ hasText: "teh last word" }).waitFor();
  await page.locator("#input").press("ArrowUp");
  await page.getByText("Editing your message").waitFor();
  await page.locator("#input").fill("the last word");
  await page.keyboard.press("Enter");
  const edited = messages(page).filter({ hasText: "the last word (edited)" });
  await edited.waitFor();
  await edited.focus();
  await page.keyboard.press("Delete");
  await page.getByRole("dialog").getByRole("button", { name: "Delete" }).click();
  await edited.waitFor({ state: "detached" });
});

test("Shift+Enter makes a line, files are shown from here", async () => {
  await page.locator("#input").pressSequentially("first");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("second");
  const dot = Buffer.from("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==", "base64");
  await page.locator("#picker").setInputFiles([{ name: "dot.png", mimeType: "image/png", buffer: dot }, { name: "page.html", mimeType: "text/html", buffer: Buffer.from("<script>alert(1)</script>") }]);
  await page.locator("#input").press("Enter");
  const message = messages(page).filter({ hasText: "first" }).last();
  await message.waitFor();
  assert.equal(await textOf(message), "first\nsecond");
  const picture = message.locator(".picture img");
  await picture.scrollIntoViewIfNeeded();
  await page.waitForFunction((image) => image.complete && image.naturalWidth === 1, await picture.elementHandle());
  const file = await page.request.get(new URL(await message.locator("a.file").getAttribute("href"), playground.address).href);
  assert.equal(file.headers()["content-type"], "application/octet-stream");
  assert.match(file.headers()["content-security-policy"], /sandbox/);
});

test("another person sees it too, and is told what is new", async () => {
  const bob = await open();
  await speakAs(bob, "bob");
  // What was said before is there.
  await messages(bob).filter({ hasText: "first" }).last().waitFor();
  assert.equal(await textOf(await ask(bob, ".rem meeting")), "tomorrow");
  await page.locator("#channels button").nth(1).click();
  const id = await page.evaluate(() => location.hash.slice(1).split("/")[0]);
  await say(bob, `look at this, <@${id}>`);
  await page.locator("#channels .channel.unread .badge").waitFor();
  assert.match(await page.title(), /^\(1\)/);
  await page.locator("#channels button").first().click();
  await messages(page).filter({ hasText: "look at this, @alice" }).and(page.locator(".to-me")).waitFor();
  await page.locator("#channels .channel.unread").waitFor({ state: "detached" });
  await bob.context().close();
});

test("servers do not share what they know", async () => {
  await page.locator("#servers button").nth(2).click();
  const name = await page.locator("#place-name").innerText();
  assert.notEqual(name, "Direct messages");
  assert.match(await textOf(await ask(page, ".rem meeting")), /couldn't remember anything for meeting/);
  await page.goBack();
  await page.waitForFunction((name) => document.getElementById("place-name").textContent !== name, name);
});

test("in a direct message no prefix is needed", async () => {
  await page.getByRole("button", { name: "Direct messages" }).click();
  await page.waitForFunction(() => document.getElementById("place-name").textContent === "Direct messages");
  await (await ask(page, "help")).waitFor();
  await page.keyboard.press("Control+k");
  await page.keyboard.type("general");
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.getElementById("bar-name").textContent === "general");
});

test("a long channel keeps a window", async () => {
  await page.locator("#channels button").last().click();
  await page.evaluate(async (many) => {
    const [person, channel] = location.hash.slice(1).split("/");
    const socket = new WebSocket(`ws://${location.host}/ws?person=${person}`);
    await new Promise((resolve) => (socket.onopen = resolve));
    const done = new Promise((resolve) => (socket.onmessage = ({ data }) => JSON.parse(data).id === many && resolve()));
    for (let id = 1; id <= many; id++) socket.send(JSON.stringify({ id, act: { act: "say", channel, text: `line ${id}` } }));
    await done;
    socket.close();
  }, MANY);
  await messages(page).filter({ hasText: new RegExp(`line ${MANY}$`) }).waitFor();
  const most = await page.evaluate(async () => {
    const scroll = document.getElementById("scroll");
    let most = 0;
    const first = () => [...document.querySelectorAll("[data-message] .text")].some((text) => text.textContent === "line 1");
    while (!first()) {
      scroll.scrollTop = 0;
      await new Promise(requestAnimationFrame);
      most = Math.max(most, document.querySelectorAll("[data-message]").length);
    }
    return most;
  });
  assert.ok(most <= WINDOW_MAX, `${most} messages in the document`);
  await page.getByRole("button", { name: "Jump to present" }).click();
  await messages(page).filter({ hasText: new RegExp(`line ${MANY}$`) }).waitFor();
});

test("on a phone everything fits and is in reach", async () => {
  const phone = await open({ viewport: { width: 390, height: 844 }, hasTouch: true, isMobile: true, colorScheme: "dark" });
  const overflow = await tooWide(phone);
  assert.ok(overflow <= 0, `${overflow} pixels too wide`);
  await phone.getByRole("button", { name: "Servers and channels" }).tap();
  await phone.locator("#channels button").nth(1).tap();
  await phone.locator("#talk:not([inert])").waitFor();
  await phone.getByRole("button", { name: /Speaking as alice/ }).last().tap();
  await phone.getByRole("menuitemradio", { name: "carol" }).tap();
  await phone.getByRole("button", { name: /Speaking as carol/ }).last().waitFor();
  assert.equal(await textOf(await ask(phone, ".rem meeting")), "tomorrow");
  await phone.context().close();
});

test("everything that can be pressed has a name", async () => {
  const nameless = await page.evaluate(() =>
    [...document.querySelectorAll("button, a[href], input:not([hidden]), textarea")]
      .filter((element) => !element.closest("[aria-hidden=true]") && element.getAttribute("aria-hidden") !== "true")
      .filter((element) => !(element.getAttribute("aria-label") ?? element.textContent).trim())
      .map((element) => element.outerHTML),
  );
  assert.deepEqual(nameless, []);
});

/** A plain request with headers that a browser would not let a page choose. */
function status(headers) {
  return new Promise((resolve, reject) => request(playground.address, { headers }, (response) => resolve(response.resume().statusCode)).on("error", reject).end());
}

test("only this machine's own page is served", async () => {
  const own = new URL(playground.address).host;
  assert.equal(await status({ host: own }), 200);
  assert.equal(await status({ host: "rebound.example" }), 403);
  assert.equal(await status({ host: own, origin: "http://evil.example" }), 403);
});

test("what was remembered outlives a killed process", async () => {
  await playground.kill();
  playground = await startPlayground(folder);
  const again = await open();
  assert.equal(await textOf(await ask(again, ".rem meeting")), "tomorrow");
});

test("the browser had nothing to complain about", () => {
  // The killed process cut one connection; the page says so itself and goes on.
  assert.deepEqual(problems.filter((problem) => !/WebSocket connection to .* failed|ERR_CONNECTION_REFUSED/.test(problem)), []);
});
