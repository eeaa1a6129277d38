// Loads a module of the page that needs no browser.
import { readFileSync } from "node:fs";

export function load(name) {
  const source = readFileSync(new URL(`../../src/web/assets/${name}`, import.meta.url), "utf8");
  return import(`data:text/javascript,${encodeURIComponent(source)}`);
}
