// The program under test, and a browser to look at it with.
import { spawn } from "node:child_process";
import { createServer } from "node:net";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { chromium } from "playwright-core";

const TARGET = process.env.CARGO_TARGET_DIR ?? fileURLToPath(new URL("../../target", import.meta.url));
const MNEME = process.env.MNEME ?? `${TARGET}/debug/mneme`;
const CHROMIUM = process.env.CHROMIUM ?? "/usr/bin/chromium";

/** A start that takes longer has failed. */
const START_MS = 60_000;

/** Lines of output kept, to be shown when the program ends early. */
const TAIL = 40;

/** Starts `mneme playground` on a free port; resolves when it has told its address. */
export function startPlayground(folder, more = []) {
  const child = spawn(MNEME, ["playground", "--port", "0", "--data-dir", folder, ...more], { stdio: ["ignore", "pipe", "pipe"] });
  const ended = new Promise((resolve) => child.once("exit", resolve));
  const tail = [];
  const hear = (stream, each) =>
    createInterface({ input: stream }).on("line", (line) => {
      tail.push(line);
      if (tail.length > TAIL) tail.shift();
      each?.(line);
    });
  return new Promise((resolve, reject) => {
    const fail = (why) => reject(new Error(`${why}\n${tail.join("\n")}`));
    const timer = setTimeout(() => fail("the playground did not tell its address"), START_MS);
    hear(child.stderr);
    hear(child.stdout, (line) => {
      const address = /http:\/\/127\.0\.0\.1:\d+/.exec(line)?.[0];
      if (address) resolve({ address, kill, pid: child.pid });
    });
    child.once("error", (error) => fail(error.message));
    child.once("exit", (code, signal) => {
      clearTimeout(timer);
      fail(`the playground ended (${code ?? signal})`);
    });
    /** As a power cut would: nothing is saved on the way out. */
    async function kill() {
      clearTimeout(timer);
      child.kill("SIGKILL");
      await ended;
    }
  });
}

/** A port that nobody listens on. */
export function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, "127.0.0.1", () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

export function startBrowser() {
  const quiet = ["--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync"];
  return chromium.launch({ executablePath: CHROMIUM, args: ["--no-sandbox", ...quiet] });
}
