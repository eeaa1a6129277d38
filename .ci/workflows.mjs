// What actionlint finds in workflows, and what we ask of them besides:
//   - a step runs one verb of the Makefile, so that it can be run at home as well;
//   - an action is named by commit, with its version beside it: a tag can be moved;
//   - the token may read, unless a job says otherwise.
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [folder, ...files] = process.argv.slice(2);
const { createLinter } = createRequire(import.meta.url)(`${folder}/node.cjs`);
const makefile = readFileSync("Makefile", "utf8");
const verbs = new Set([...makefile.matchAll(/^([a-z-]+):.*## /gm)].map((match) => match[1]));

function* ours(text) {
  const lines = text.split("\n");
  if (!/^permissions:\n  contents: read$/m.test(text)) yield [1, "the token may do more than read, or it is not said"];
  for (const [index, line] of lines.entries()) {
    const run = line.match(/^\s*(?:- )?run: (.*)$/)?.[1];
    if (run !== undefined) {
      const [command, ...words] = run.replace(/\$\{\{[^}]*\}\}/g, "$").split(" ");
      const named = words.filter((word) => !word.includes("=") && word !== "$");
      if (command !== "make" || words.length === 0) yield [index + 1, `only \`make VERB\` is run, not: ${run}`];
      for (const word of named) if (!verbs.has(word)) yield [index + 1, `the Makefile has no verb ${word}`];
    }
    const action = line.match(/^\s*(?:- )?uses: (.*)$/)?.[1];
    if (action !== undefined && !/^[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/.test(action)) {
      yield [index + 1, `an action is named by commit, with its version beside it: ${action}`];
    }
    for (const verb of line.match(/^\s*verb: \[(.*)\]$/)?.[1].split(", ") ?? []) {
      if (!verbs.has(verb)) yield [index + 1, `the Makefile has no verb ${verb}`];
    }
  }
}

// Newer than this build of actionlint, which knows all others.
const RUNNERS = ["ubuntu-22.04-arm", "ubuntu-24.04", "ubuntu-24.04-arm"];
const isKnownRunner = ({ kind, message }) =>
  kind === "runner-label" && RUNNERS.some((runner) => message.startsWith(`label "${runner}"`));

const lint = await createLinter();
let found = 0;
for (const file of files) {
  const text = readFileSync(file, "utf8");
  const known = lint(text, file)
    .filter((finding) => !isKnownRunner(finding))
    .map(({ line, message }) => [line, message]);
  for (const [line, message] of [...known, ...ours(text)]) {
    console.error(`${file}:${line}: ${message}`);
    found += 1;
  }
}
// The linter's runtime would keep the process alive.
console.log(found === 0 ? `${files.length} workflows are sound` : `${found} found`);
process.exit(found === 0 ? 0 : 1);
