#!/usr/bin/env python3
"""Writes the argument schemas of Terraform's AWS provider, as far as the configuration uses them.

    aws_schema.py PACKAGE TERRAFORM OUT      PACKAGE: npm's @cdktn/provider-aws, unpacked; TERRAFORM: the folder of *.tf

The provider itself comes from Terraform's own registry. Where that is out of reach, the bindings generated from it are
not: they are on npm, and each resource's file there says which arguments and blocks it has, their types, and what is
required. aws_stub.py serves what this writes. The provider's version goes to the standard output.
"""
import json
import pathlib
import re
import sys

USED = re.compile(r'^(resource|data) "aws_(\w+)"', re.MULTILINE)

# The shapes of a generated file that matter here.
CLASS = re.compile(r"^(?:export )?class (\w+) extends ([\w.]+) \{")
FUNCTION = re.compile(r"^(?:export )?function (\w+)\(struct\) \{")
ARGUMENT = re.compile(r"^    // (\w+) - computed: (\w+), optional: (\w+), required: (\w+)$")
BLOCK = r'new (\w+)\(this, "%s"(?:, (\w+))?\)'
RENDERED_NAME = re.compile(r"^\s+(\w+): \{$")
RENDERED_FIELD = re.compile(r'^\s+(isBlock|type|storageClassType): "?(\w+)"?,$')

# A type stands in two places: in the method that reads an attribute, and in the code that renders it.
READ_BY = {
    "String": "string",
    "Number": "number",
    "Boolean": "bool",
    "List": ["list", "string"],
    "NumberList": ["list", "number"],
    "StringMap": ["map", "string"],
    "NumberMap": ["map", "number"],
    "BooleanMap": ["map", "bool"],
}
STORED_AS = {
    "string": "string",
    "number": "number",
    "boolean": "bool",
    "stringList": ["list", "string"],
    "numberList": ["list", "number"],
    "stringMap": ["map", "string"],
}


class Bindings:
    """One generated file: its classes with their lines, and its functions."""

    def __init__(self, path):
        self.bases, self.classes, self.functions = {}, {}, {}
        body = []
        for line in path.read_text(encoding="utf-8").splitlines():
            if match := CLASS.match(line):
                self.bases[match[1]] = match[2]
                body = self.classes[match[1]] = []
            elif match := FUNCTION.match(line):
                body = self.functions[match[1]] = []
            elif line == "}":
                body = []
            else:
                body.append(line)

    def derived_from(self, base):
        return next(name for name, parent in self.bases.items() if parent.endswith(base))


def argument(kind, computed=False, optional=True, required=False):
    return {"type": kind, "computed": computed, "optional": optional, "required": required}


def block(nesting, content, required=False, max_items=0):
    return {"nesting": nesting, "block": content, "required": required, "max_items": max_items}


def rendered(lines):
    """What the rendering code says of each field: (is it a block, nesting or type, how it is stored)."""
    fields, name, seen = {}, None, {}
    for line in lines:
        if match := RENDERED_NAME.match(line):
            name, seen = match[1], {}
        elif name and (match := RENDERED_FIELD.match(line)):
            seen[match[1]] = match[2]
            if match[1] == "storageClassType":
                fields[name] = (seen["isBlock"] == "true", seen["type"], match[2])
                name = None
    return fields


def content_of(bindings, class_name):
    """Arguments and blocks of one class, and of the classes inside it."""
    lines = bindings.classes[class_name]
    fields = rendered(lines)
    starts = [number for number, line in enumerate(lines) if ARGUMENT.match(line)]
    arguments, blocks = {}, {}
    for start, end in zip(starts, starts[1:] + [len(lines)]):
        name, *flags = ARGUMENT.match(lines[start]).groups()
        computed, optional, required = (flag == "true" for flag in flags)
        code = "\n".join(lines[start + 1 : min(end, start + 7)])
        inner = re.search(BLOCK % name, code)
        if inner and inner[1] in bindings.classes:
            blocks[name] = block_of(bindings, name, inner, required)
        else:
            arguments[name] = argument(type_of(code, fields.get(name)), computed, optional, required)
    return {"attributes": arguments, "block_types": blocks}


def block_of(bindings, name, inner, required):
    if inner[1].endswith("List"):
        item = content_of(bindings, inner[1].removesuffix("List") + "OutputReference")
        return block("set" if inner[2] == "true" else "list", item, required)
    item = content_of(bindings, inner[1])
    return block("single", item, required) if name == "timeouts" else block("list", item, required, max_items=1)


def type_of(code, field):
    read = re.search(r"this\.get(\w+?)Attribute\(", code)
    kind = READ_BY.get(read[1]) if read else None
    if field and not field[0]:
        kind = STORED_AS.get(field[2], kind)
    if kind == ["list", "string"] and "Fn.tolist" in code:
        return ["set", "string"]
    return kind or "string"


def provider(bindings):
    arguments, blocks = {}, {}
    for name, (is_block, kind, stored) in rendered(bindings.classes[bindings.derived_from("TerraformProvider")]).items():
        if not is_block:
            arguments[name] = argument(STORED_AS.get(stored, "string"))
            continue
        struct = stored.removesuffix("List")
        lines = bindings.functions.get(struct[0].lower() + struct[1:] + "ToHclTerraform", [])
        inside = {field: argument(STORED_AS.get(type_, "string")) for field, (_, _, type_) in rendered(lines).items()}
        blocks[name] = block(kind if kind in ("list", "set") else "list", {"attributes": inside, "block_types": {}})
    # `alias` is Terraform's own.
    return {"attributes": {name: each for name, each in arguments.items() if name != "alias"}, "block_types": blocks}


def used_in(folder):
    texts = [path.read_text(encoding="utf-8") for path in sorted(folder.rglob("*.tf"))]
    return sorted({use for text in texts for use in USED.findall(text)})


def main(package, folder, out):
    package = pathlib.Path(package)
    schemas = {"provider": provider(Bindings(package / "lib/provider/index.js")), "resource": {}, "data": {}}
    for kind, name in used_in(pathlib.Path(folder)):
        file = name.replace("_", "-") if kind == "resource" else "data-aws-" + name.replace("_", "-")
        bindings = Bindings(package / "lib" / file / "index.js")
        top = bindings.derived_from("TerraformResource" if kind == "resource" else "TerraformDataSource")
        schemas[kind]["aws_" + name] = content_of(bindings, top)
    pathlib.Path(out).write_text(json.dumps(schemas, indent=1, sort_keys=True), encoding="utf-8")
    print(json.loads((package / "package.json").read_text(encoding="utf-8"))["cdktn"]["provider"]["version"])


if __name__ == "__main__":
    main(*sys.argv[1:])
