// Slash commands as a person sees them: a flat list to search, and the options a choice turns into.

export const KIND = {
  GROUP_MEMBER: 1,
  GROUP: 2,
  TEXT: 3,
  INTEGER: 4,
  BOOLEAN: 5,
  USER: 6,
  CHANNEL: 7,
  ROLE: 8,
  MENTIONABLE: 9,
  NUMBER: 10,
  FILE: 11,
};

/** The commands one can type, subcommands spelled out. */
export function flatten(commands) {
  return commands.filter((command) => (command.type ?? 1) === 1).flatMap((command) => leaves(command, command, []));
}

function leaves(root, node, path) {
  const here = [...path, node.name];
  const options = node.options ?? [];
  const inner = options.filter((option) => option.type === KIND.GROUP_MEMBER || option.type === KIND.GROUP);
  if (inner.length) return inner.flatMap((option) => leaves(root, option, here));
  return [{ root, path: here, name: here.join(" "), description: node.description, options }];
}

/** The entries of a message's context menu. */
export function messageMenu(commands) {
  return commands.filter((command) => command.type === 3);
}

/** What fits the typed text, best first: the name's start, a word's start, the middle, the description. */
export function search(entries, typed) {
  const wanted = typed.trim().toLowerCase().replace(/\s+/g, " ");
  return entries
    .map((entry) => ({ entry, rank: rank(entry, wanted) }))
    .filter(({ rank }) => rank < 4)
    .sort((a, b) => a.rank - b.rank || (a.entry.name < b.entry.name ? -1 : 1))
    .map(({ entry }) => entry);
}

function rank(entry, wanted) {
  if (entry.name.startsWith(wanted)) return 0;
  if (entry.path.some((word) => word.startsWith(wanted))) return 1;
  if (entry.name.includes(wanted)) return 2;
  return wanted.length > 2 && entry.description?.toLowerCase().includes(wanted) ? 3 : 4;
}

/** The entry whose whole name has been typed and followed by a space: `/rem get `. */
export function typedOut(entries, text) {
  const name = /^\/(\S+(?: \S+){0,2}) $/.exec(text)?.[1].toLowerCase();
  return name ? entries.find((entry) => entry.name === name) : undefined;
}

/** Options nested as Discord wants them: `[{name, type, options}]` around the values. */
export function nested(entry, values) {
  let options = values;
  let members = entry.root.options ?? [];
  const wrappers = entry.path.slice(1).map((name) => {
    const option = members.find((member) => member.name === name);
    members = option.options ?? [];
    return option;
  });
  for (const { name, type } of wrappers.reverse()) options = [{ name, type, options }];
  return options;
}

/** Reads what was typed for an option; throws what is wrong with it. */
export function readValue(option, typed) {
  const value = typed.trim();
  switch (option.type) {
    case KIND.INTEGER:
    case KIND.NUMBER: {
      const number = Number(value);
      const whole = option.type === KIND.INTEGER;
      if (value === "" || !Number.isFinite(number) || (whole && !Number.isInteger(number))) throw new Error(`${option.name} must be a ${whole ? "whole " : ""}number`);
      if (number < (option.min_value ?? -Infinity)) throw new Error(`${option.name} must be at least ${option.min_value}`);
      if (number > (option.max_value ?? Infinity)) throw new Error(`${option.name} must be at most ${option.max_value}`);
      return number;
    }
    case KIND.BOOLEAN:
      if (/^(true|yes|on|1)$/i.test(value)) return true;
      if (/^(false|no|off|0)$/i.test(value)) return false;
      throw new Error(`${option.name} must be True or False`);
    case KIND.TEXT:
      if (typed.length < (option.min_length ?? 0)) throw new Error(`${option.name} needs at least ${option.min_length} characters`);
      if (typed.length > (option.max_length ?? 6000)) throw new Error(`${option.name} takes at most ${option.max_length ?? 6000} characters`);
      return typed;
    default:
      return value;
  }
}
