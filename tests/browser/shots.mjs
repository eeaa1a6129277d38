// Takes the pictures of README and docs: `tests/browser/run shots`. Look at them before you commit them.
import { spawn } from "node:child_process";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { freePort, startBrowser, startPlayground } from "./program.mjs";
import { window } from "./stage.mjs";

/** Looks of the dashboard at its numbers before it is drawn; there is one every ten seconds. */
const LOOKS = 19;

/** Lines that people say between two looks: a bot that is used now more, now less. */
const RATES = [4, 6, 5, 9, 12, 10, 15, 11, 8, 9, 6, 7, 12, 17, 14, 9, 7, 8];

const DOCS = fileURLToPath(new URL("../../docs/", import.meta.url));
const XMPP = fileURLToPath(new URL("../../engines/xmpp.sh", import.meta.url));
const folder = await mkdtemp(join(tmpdir(), "mneme-shots-"));
// A short path: it is in the picture.
process.chdir(folder);
// Whatever happens, nothing that was started stays behind.
const started = [];
process.once("exit", () => {
  for (const pid of started) {
    try {
      process.kill(pid);
    } catch {
      // It has ended.
    }
  }
});
const browser = await startBrowser();

const until = async (done) => {
  while (!(await done())) await new Promise((resolve) => setTimeout(resolve, 200));
};

async function open(address, options) {
  const page = await window(browser, [], { viewport: { width: 1280, height: 800 }, deviceScaleFactor: 1.25, ...options });
  await page.goto(address);
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

/** Says lines in the channel that a page shows, by several people, without waiting for answers. */
async function crowd(page, lines) {
  await page.evaluate(async (lines) => {
    const [, channel] = location.hash.slice(1).split("/");
    const open = async (person) => {
      const socket = new WebSocket(`ws://${location.host}/ws${person ? `?person=${person}` : ""}`);
      const { people } = await new Promise((resolve) => (socket.onmessage = ({ data }) => JSON.parse(data).t === "VIEW" && resolve(JSON.parse(data).d)));
      return { socket, people };
    };
    const { socket, people } = await open();
    socket.close();
    globalThis.crowd ??= Object.fromEntries(await Promise.all(people.map(async ({ id, username }) => [username, (await open(id)).socket])));
    for (const [who, text] of lines) globalThis.crowd[who].send(JSON.stringify({ id: 1, act: { act: "say", channel, text } }));
  }, lines);
}

const settle = (page) => page.evaluate(() => new Promise((resolve) => requestAnimationFrame(() => requestAnimationFrame(resolve))));

async function shot(page, name) {
  await page.mouse.move(0, 0);
  await settle(page);
  await page.screenshot({ path: join(DOCS, `${name}.png`) });
  console.log(`docs/${name}.png`);
}

/** The relay of one of three bots: it hears alerts, and what its scripts say goes to all. */
async function tree(me, xmpp, scripts, heard) {
  const bots = ["hub", "laptop", "garden"];
  const links = bots.flatMap((from) => bots.filter((to) => to !== from).map((to) => `  - { from: ${from}, to: ${to}, by: xmpp, topics: [${to === me ? heard : '"**"'}] }`));
  await mkdir(join(me, "sources"), { recursive: true });
  await writeFile(
    join(me, "relay.yaml"),
    `relay: 1
bots: { ${bots.map((bot) => `${bot}: { xmpp: ${bot}@relay.test }`).join(", ")} }
topics: [ { topic: host/**, kind: sample }, { topic: "**" } ]
links:
${links.join("\n")}
transports: { xmpp: { server: "127.0.0.1:${xmpp}", tls: off, password: { secret: xmpp_password } } }
`,
  );
  await writeFile(join(me, "sources", "scripts.yaml"), `{ source: scripts, listen: "127.0.0.1:${scripts}", topics: ["**"], scope: link }\n`);
  await writeFile(join(me, `secrets.yaml.${me}`), "{ xmpp_password: secret }\n", { mode: 0o600 });
  return ["--relay", me, "--bot-name", me];
}

/** What a script says to its bot. */
async function publish(port, topic, subject) {
  const answer = await fetch(`http://127.0.0.1:${port}/${topic}`, { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ subject }) });
  if (!answer.ok) throw new Error(await answer.text());
}

const accepts = (port) =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1", () => (socket.destroy(), resolve(true))).once("error", () => resolve(false));
  });

const [port, xmpp, hubScripts, laptopScripts] = [await freePort(), await freePort(), await freePort(), await freePort()];
const server = spawn(XMPP, ["prosody", String(xmpp), "xmpp", "hub:secret", "laptop:secret", "garden:secret"], { stdio: "ignore", detached: true });
started.push(-server.pid);
const hub = await tree("hub", xmpp, hubScripts, "alerts/**, announce");
const laptop = await tree("laptop", xmpp, laptopScripts, '"**"');
await until(() => accepts(xmpp));

// The first start tells who alice is; in the second one she owns the bot.
let playground = await startPlayground("data");
let chat = await open(playground.address);
const alice = (await chat.evaluate(() => location.hash)).slice(1).split("/")[0];
const people = await chat.evaluate(async () => {
  const socket = new WebSocket(`ws://${location.host}/ws`);
  const { d } = await new Promise((resolve) => (socket.onmessage = ({ data }) => resolve(JSON.parse(data))));
  socket.close();
  return d.people.map(({ id }) => id).slice(1);
});
await chat.context().close();
await playground.kill();
const dashboard = `http://127.0.0.1:${port}`;
playground = await startPlayground("data", ["--http", String(port), "--sign-in", "--bot-owners", alice, ...hub]);
started.push(playground.pid);
const away = await startPlayground("laptop-data", laptop);
started.push(away.pid);

chat = await open(playground.address, { colorScheme: "dark" });
await chat.getByRole("button", { name: "Close this hint" }).click();
for (const line of [".remember wifi is correct horse battery staple, on every floor", ".rem wifi", ".mem edit wifi is hunter2, since Monday", ".mem history wifi"]) await ask(chat, line);
await shot(chat, "playground");
await chat.getByRole("button", { name: "Behind the scenes", exact: true }).click();
await chat.locator("#switch-lost").click();
await ask(chat, ".remember tea is Earl Grey, two minutes");
await chat.locator("#backstage .step").filter({ hasText: "Message sent: 200" }).last().waitFor();
await shot(chat, "backstage");
await chat.locator("#switch-lost").click();
await chat.getByRole("button", { name: "Behind the scenes", exact: true }).click();

const page = await window(browser, [], { viewport: { width: 1280, height: 860 }, deviceScaleFactor: 1.25, colorScheme: "light" });
await page.goto(dashboard);
await page.getByRole("link", { name: "alice", exact: true }).click();
await page.waitForURL(`${dashboard}/servers`);

// The plot needs some looks at the numbers, and something to see.
const SAID = [
  () => ["alice", ".rem tea"],
  () => ["bob", ".rem wifi"],
  (n) => ["carol", `.remember room ${n} is on floor ${1 + (n % 7)}`],
  () => ["dave", ".ping"],
  () => ["bob", ".mem list"],
  (n) => ["alice", `.sparkle <@${people[n % people.length]}> for the tea`],
  () => ["dave", ".leaderboard memories"],
  () => ["carol", ".rem wifi"],
  () => ["alice", ".rem wifi"],
  () => ["dave", ".rem where the keys are"],
];
const looks = async () => (await page.goto(dashboard), page.locator("polyline").first().evaluate((line) => line.points.numberOfItems));
let said = 0;
for (let look = await looks(); look < LOOKS; ) {
  const rate = RATES[look % RATES.length];
  await crowd(chat, Array.from({ length: rate }, () => SAID[said % SAID.length](said++)));
  await until(async () => (await looks()) > look);
  look = await looks();
}
await shot(page, "dashboard");

for (const [topic, subject] of [["alerts/disk", "/ is 93 % full"], ["alerts/backup", "the backup of Sunday is missing"], ["host/load", "the load is 0.42"], ["alerts/disk", "/home is 91 % full"]]) await publish(laptopScripts, topic, subject);
for (const [topic, subject] of [["alerts/certificate", "chat.example.org ends in 6 days"], ["announce", "the shop is closed on Monday"]]) await publish(hubScripts, topic, subject);
await until(async () => {
  await page.goto(`${dashboard}/relay`);
  const text = await page.locator("main").innerText();
  return /Dead letters\s+[1-9]/u.test(text) && /1 of 2/u.test(text) && /laptop\s+both ways\s+up\s+[-\d: ]+UTC\s+0\s/u.test(text);
});
await shot(page, "relay");

await page.goto(`${dashboard}/servers`);
await page.getByRole("link", { name: "Wonderland" }).click();
await page.getByRole("link", { name: "Memories" }).click();
await page.getByRole("link", { name: "wifi" }).click();
await page.setViewportSize({ width: 1280, height: 560 });
await shot(page, "memory");
await browser.close();
await Promise.all([playground.kill(), away.kill()]);
process.kill(-server.pid);
await rm(folder, { recursive: true, force: true });
