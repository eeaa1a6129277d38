#!/usr/bin/env python3
"""Compares the tables that a plan makes with tables.json, and with what every table must have.

    terraform_plan.py PLAN.json TABLES.json PREFIX

First it spoils what it compares with, in every way there is, and has to notice: a comparison that accepts anything
would be worse than none.
"""
import copy
import json
import sys


def key(name, of):
    return None if name is None else {"name": name, "type": of[name]}


def planned(plan, prefix):
    """The tables of the plan, written as tables.json writes them."""
    tables = {}
    for change in plan["resource_changes"]:
        if change["type"] != "aws_dynamodb_table":
            continue
        after = change["change"]["after"]
        types = {attribute["name"]: attribute["type"] for attribute in after["attribute"]}
        tables[after["name"].removeprefix(prefix)] = {
            "hash_key": key(after["hash_key"], types),
            "range_key": key(after["range_key"], types),
            "ttl_attribute": next((ttl["attribute_name"] for ttl in after["ttl"] if ttl["enabled"]), None),
            "local_indexes": [
                {
                    "name": index["name"],
                    "range_key": key(index["range_key"], types),
                    "projection": index["projection_type"],
                    "attributes": index["non_key_attributes"] or [],
                }
                for index in after["local_secondary_index"]
            ],
        }
    return tables


def comparable(tables):
    """Indexes and the attributes in them have no order."""
    tables = copy.deepcopy(tables)
    for table in tables.values():
        for index in table["local_indexes"]:
            index["attributes"].sort()
        table["local_indexes"].sort(key=lambda index: index["name"])
    return tables


def differences(found, declared):
    found, declared = comparable(found), comparable(declared)
    return [
        f"{name}: planned {json.dumps(found.get(name))}, declared {json.dumps(declared.get(name))}"
        for name in sorted(found.keys() | declared.keys())
        if found.get(name) != declared.get(name)
    ]


def unsafe(plan, prefix):
    """Tables that could be lost, billed by the hour, or taken for somebody else's."""
    for change in plan["resource_changes"]:
        if change["type"] != "aws_dynamodb_table":
            continue
        after = change["change"]["after"]
        holds = {
            "is created": change["change"]["actions"] == ["create"],
            "has the prefix": after["name"].startswith(prefix),
            "is billed by request": after["billing_mode"] == "PAY_PER_REQUEST",
            "is protected": after["deletion_protection_enabled"] is True,
            "can be recovered": any(each["enabled"] for each in after["point_in_time_recovery"]),
        }
        yield from (f"{after['name']}: not so: {what}" for what, so in holds.items() if not so)


def spoiled(declared):
    """The declaration with one thing wrong, for each thing that can be."""
    for name, table in declared.items():
        without = copy.deepcopy(declared)
        del without[name]
        yield f"no {name}", without
        for field in ("hash_key", "range_key", "ttl_attribute"):
            other = copy.deepcopy(declared)
            other[name][field] = {"name": "other", "type": "S"} if field != "ttl_attribute" else "other"
            yield f"another {field} of {name}", other
        for number, index in enumerate(table["local_indexes"]):
            without = copy.deepcopy(declared)
            del without[name]["local_indexes"][number]
            yield f"no {index['name']} on {name}", without
            other = copy.deepcopy(declared)
            other[name]["local_indexes"][number]["attributes"] = ["other"]
            yield f"other attributes in {index['name']} of {name}", other


def main(plan_path, tables_path, prefix):
    with open(plan_path, encoding="utf-8") as plan_file, open(tables_path, encoding="utf-8") as tables_file:
        plan, declared = json.load(plan_file), json.load(tables_file)
    found = planned(plan, prefix)
    unnoticed = [what for what, wrong in spoiled(declared) if not differences(found, wrong)]
    assert not unnoticed, f"the comparison does not notice: {unnoticed}"
    wrong = differences(found, declared) + list(unsafe(plan, prefix))
    print("\n".join(wrong) or f"{len(found)} tables, as declared: {', '.join(sorted(found))}")
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main(*sys.argv[1:])
