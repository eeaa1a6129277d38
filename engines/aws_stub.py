#!/usr/bin/env python3
"""TEST DOUBLE of Terraform's AWS provider: the real arguments, and tables in any DynamoDB that has an address.

Terraform starts it from a mirror that terraform-install.sh makes. Its schemas are those of the real provider
(aws_schema.py). `aws_dynamodb_table` is created, read, changed, deleted and imported over boto3; the data sources about
account and region have fixed answers; everything else can be validated and planned, not applied. What it does not know
is an error, never silence. It proves nothing about the real provider's defaults, waits and errors.
"""
import json
import os
import sys

import boto3
import tf.provider
import tf.runner
from tf.gen import tfplugin_pb2 as pb
from tf.types import Unknown
from tf.utils import Diagnostics, _to_attribute_path, read_dynamic_value, to_dynamic_value

with open(os.environ["AWS_STUB_SCHEMA"], encoding="utf-8") as file:
    SCHEMA = json.load(file)
NESTING = pb.Schema.NestedBlock.NestingMode
# A table is soon there or not at all on what this is used with.
WAIT = {"Delay": 1, "MaxAttempts": 60}
NO_EXPIRY = {"attribute_name": "", "enabled": False}


def schema_message(content, version=0):
    return pb.Schema(version=version, block=content_message(content))


def content_message(content):
    attributes = [
        pb.Schema.Attribute(
            name=name,
            type=json.dumps(argument["type"]).encode(),
            required=argument["required"],
            optional=argument["optional"],
            computed=argument["computed"],
        )
        for name, argument in sorted(content["attributes"].items())
    ]
    blocks = [
        pb.Schema.NestedBlock(
            type_name=name,
            nesting={"list": NESTING.LIST, "set": NESTING.SET, "single": NESTING.SINGLE}[block["nesting"]],
            block=content_message(block["block"]),
            min_items=1 if block["required"] else 0,
            max_items=block["max_items"],
        )
        for name, block in sorted(content["block_types"].items())
    ]
    return pb.Schema.Block(attributes=attributes, block_types=blocks)


def complete(content, value):
    """The value with all that its schema has: what is missing or unknown is null, and a missing block is empty."""
    whole = {name: None if value.get(name) is Unknown else value.get(name) for name in content["attributes"]}
    for name, block in content["block_types"].items():
        items = value.get(name)
        if block["nesting"] == "single":
            whole[name] = complete(block["block"], items) if items else None
        else:
            whole[name] = [complete(block["block"], item) for item in items or []]
    return whole


def first(items):
    return items[0] if items else {}


def key_schema(hash_key, range_key):
    keys = [(hash_key, "HASH"), (range_key, "RANGE")]
    return [{"AttributeName": name, "KeyType": kind} for name, kind in keys if name]


def key_of(described, kind):
    return next((key["AttributeName"] for key in described["KeySchema"] if key["KeyType"] == kind), None)


def index_request(hash_key, index):
    projection = {"ProjectionType": index["projection_type"]}
    if index.get("non_key_attributes"):
        projection["NonKeyAttributes"] = list(index["non_key_attributes"])
    return {
        "IndexName": index["name"],
        "KeySchema": key_schema(hash_key, index["range_key"]),
        "Projection": projection,
    }


def in_amazons_order(table):
    """Amazon names the attributes of an index in an order of its own, and the real provider shows that as a change that
    makes a new table. Other engines keep the order, so it is turned round here: a configuration must bear it."""
    for index in table["local_secondary_index"] if table else []:
        if index["non_key_attributes"]:
            index["non_key_attributes"] = sorted(index["non_key_attributes"], reverse=True)
    return table


class Table:
    """aws_dynamodb_table, billed by request: keys, local indexes, expiry, recovery, protection, tags."""

    REPLACED_BY = ["name", "hash_key", "range_key", "local_secondary_index"]
    CHANGED_BY = {"deletion_protection_enabled", "ttl", "point_in_time_recovery", "server_side_encryption", "tags", "tags_all"}
    NOT_HERE = ["global_secondary_index", "replica", "import_table", "stream_enabled"]

    def __init__(self, provider):
        self.region = region_of(provider)
        self.default_tags = first(provider.get("default_tags")).get("tags") or {}
        self.client = boto3.client("dynamodb", region_name=self.region)

    @staticmethod
    def validate(config, report):
        """What the real provider refuses and no schema can say; what is not known yet passes."""
        if config.get("billing_mode") not in (None, Unknown, "PAY_PER_REQUEST", "PROVISIONED"):
            report.add_error("expected billing_mode to be one of [PAY_PER_REQUEST PROVISIONED]")
        attributes, indexes = config.get("attribute") or [], config.get("local_secondary_index") or []
        if attributes is Unknown or indexes is Unknown:
            return
        keys = [config.get("hash_key"), config.get("range_key"), *(index.get("range_key") for index in indexes)]
        names = [attribute.get("name") for attribute in attributes]
        if Unknown not in keys and Unknown not in names:
            keys = {key for key in keys if key}
            if unused := sorted(set(names) - keys):
                report.add_error(f"all attributes must be indexed. Unused attributes: {unused}")
            if missing := sorted(keys - set(names)):
                report.add_error(f"all indexes must match a defined attribute. Unmatched indexes: {missing}")
        for attribute in attributes:
            if attribute.get("type") not in ("S", "N", "B", Unknown):
                report.add_error(f"expected type to be one of [B N S], got {attribute.get('type')}")

    def create(self, plan):
        for name in self.NOT_HERE:
            if plan.get(name):
                raise NotImplementedError(f"{name} is not in this test double")
        if plan.get("billing_mode") != "PAY_PER_REQUEST":
            raise NotImplementedError("a table that is billed by the hour is not in this test double")
        request = {
            "TableName": plan["name"],
            "BillingMode": "PAY_PER_REQUEST",
            "KeySchema": key_schema(plan["hash_key"], plan["range_key"]),
            "AttributeDefinitions": [
                {"AttributeName": attribute["name"], "AttributeType": attribute["type"]}
                for attribute in plan["attribute"]
            ],
            "DeletionProtectionEnabled": bool(plan.get("deletion_protection_enabled")),
            "LocalSecondaryIndexes": [
                index_request(plan["hash_key"], index) for index in plan.get("local_secondary_index") or []
            ],
            "Tags": [{"Key": key, "Value": value} for key, value in sorted(self.tags(plan).items())],
        }
        if first(plan.get("server_side_encryption")).get("enabled"):
            request["SSESpecification"] = {"Enabled": True, "SSEType": "KMS"}
        self.client.create_table(**{name: value for name, value in request.items() if value != []})
        self.client.get_waiter("table_exists").wait(TableName=plan["name"], WaiterConfig=WAIT)
        self.settle({}, plan)
        return self.read(plan)

    def update(self, old, new):
        changed = {name for name in new if old.get(name) != new.get(name) and new.get(name) is not Unknown}
        if unknown := sorted(changed - self.CHANGED_BY):
            raise NotImplementedError(f"a change of {unknown} is not in this test double")
        if first(old.get("server_side_encryption")).get("enabled") != first(new.get("server_side_encryption")).get("enabled"):
            if first(new.get("server_side_encryption")).get("enabled"):
                raise NotImplementedError("another key is not in this test double")
        if "deletion_protection_enabled" in changed:
            self.client.update_table(
                TableName=new["name"], DeletionProtectionEnabled=bool(new["deletion_protection_enabled"])
            )
        if changed & {"tags", "tags_all"}:
            self.retag(old["arn"], old.get("tags_all") or {}, self.tags(new))
        self.settle(old, new)
        return self.read(new)

    def retag(self, arn, old, new):
        if gone := sorted(old.keys() - new.keys()):
            self.client.untag_resource(ResourceArn=arn, TagKeys=gone)
        if new:
            tags = [{"Key": key, "Value": value} for key, value in sorted(new.items())]
            self.client.tag_resource(ResourceArn=arn, Tags=tags)

    def settle(self, old, new):
        """What DynamoDB does not take with the table itself."""
        ttl, recovery = first(new.get("ttl")), first(new.get("point_in_time_recovery"))
        if ttl and ttl != first(old.get("ttl")):
            setting = {"AttributeName": ttl["attribute_name"], "Enabled": bool(ttl["enabled"])}
            self.client.update_time_to_live(TableName=new["name"], TimeToLiveSpecification=setting)
        if recovery and recovery != first(old.get("point_in_time_recovery")):
            setting = {"PointInTimeRecoveryEnabled": bool(recovery["enabled"])}
            self.client.update_continuous_backups(TableName=new["name"], PointInTimeRecoverySpecification=setting)

    def delete(self, old):
        self.client.delete_table(TableName=old["name"])
        self.client.get_waiter("table_not_exists").wait(TableName=old["name"], WaiterConfig=WAIT)

    def tags(self, wanted):
        return {**self.default_tags, **(wanted.get("tags") or {})}

    def read(self, state):
        """What the table is now: all of it after an import, otherwise what the configuration speaks of."""
        try:
            found = self.describe(state["name"])
        except self.client.exceptions.ResourceNotFoundException:
            return None
        if state.get("hash_key") is None:
            spoken = {name for name, value in found.items() if value and value != [NO_EXPIRY]}
        else:
            spoken = {name for name in found if state.get(name) not in (None, Unknown, [])}
        always = {"id", "arn", "region", "stream_arn", "stream_label", "stream_view_type", "hash_key"}
        always |= {"read_capacity", "write_capacity", "tags_all"}
        now = {**state, **{name: found[name] for name in spoken | always}}
        return complete(SCHEMA["resource"]["aws_dynamodb_table"], now)

    def describe(self, name):
        table = self.client.describe_table(TableName=name)["Table"]
        ttl = self.client.describe_time_to_live(TableName=name)["TimeToLiveDescription"]
        expires = ttl.get("TimeToLiveStatus") in ("ENABLED", "ENABLING")
        backups = self.client.describe_continuous_backups(TableName=name)["ContinuousBackupsDescription"]
        recovery = backups.get("PointInTimeRecoveryDescription", {}).get("PointInTimeRecoveryStatus") == "ENABLED"
        tags = self.client.list_tags_of_resource(ResourceArn=table["TableArn"]).get("Tags", [])
        tags = {tag["Key"]: tag["Value"] for tag in tags}
        return {
            "id": name,
            "name": name,
            "arn": table["TableArn"],
            "region": self.region,
            "hash_key": key_of(table, "HASH"),
            "range_key": key_of(table, "RANGE"),
            "attribute": [
                {"name": attribute["AttributeName"], "type": attribute["AttributeType"]}
                for attribute in table["AttributeDefinitions"]
            ],
            "billing_mode": table.get("BillingModeSummary", {}).get("BillingMode", "PROVISIONED"),
            "read_capacity": 0,
            "write_capacity": 0,
            "deletion_protection_enabled": table.get("DeletionProtectionEnabled", False),
            "stream_arn": "",
            "stream_label": "",
            "stream_view_type": "",
            "local_secondary_index": [
                {
                    "name": index["IndexName"],
                    "range_key": key_of(index, "RANGE"),
                    "projection_type": index["Projection"]["ProjectionType"],
                    "non_key_attributes": index["Projection"].get("NonKeyAttributes"),
                }
                for index in table.get("LocalSecondaryIndexes", [])
            ],
            "ttl": [{"attribute_name": ttl["AttributeName"], "enabled": True}] if expires else [NO_EXPIRY],
            "point_in_time_recovery": [{"enabled": recovery}],
            "tags": {key: value for key, value in tags.items() if self.default_tags.get(key) != value},
            "tags_all": tags,
        }


APPLIED = {"aws_dynamodb_table": Table}


def region_of(provider):
    return provider.get("region") or os.environ.get("AWS_REGION") or "us-east-1"


# The account is LocalStack's.
ANSWERS = {
    "aws_caller_identity": lambda provider: {"id": "000000000000", "account_id": "000000000000"},
    "aws_partition": lambda provider: {"id": "aws", "partition": "aws", "dns_suffix": "amazonaws.com"},
    "aws_region": lambda provider: {"id": region_of(provider), "region": region_of(provider), "name": region_of(provider)},
}


class Servicer(tf.provider.ProviderServicer):
    provider = {}

    def GetProviderSchema(self, request, context):
        return pb.GetProviderSchema.Response(
            provider=schema_message(SCHEMA["provider"]),
            # The real provider's states of tables have version 1.
            resource_schemas={
                name: schema_message(content, 1 if name == "aws_dynamodb_table" else 0)
                for name, content in SCHEMA["resource"].items()
            },
            data_source_schemas={name: schema_message(content) for name, content in SCHEMA["data"].items()},
        )

    def ValidateProviderConfig(self, request, context):
        return pb.ValidateProviderConfig.Response()

    def ConfigureProvider(self, request, context):
        self.provider = read_dynamic_value(request.config)
        return pb.ConfigureProvider.Response()

    def ValidateResourceConfig(self, request, context):
        report = Diagnostics()
        if request.type_name in APPLIED:
            APPLIED[request.type_name].validate(read_dynamic_value(request.config), report)
        return pb.ValidateResourceConfig.Response(diagnostics=report.to_pb())

    def ValidateDataResourceConfig(self, request, context):
        return pb.ValidateDataResourceConfig.Response()

    def ReadDataSource(self, request, context):
        report = Diagnostics()
        state = read_dynamic_value(request.config)
        if request.type_name in ANSWERS:
            state = complete(SCHEMA["data"][request.type_name], {**state, **ANSWERS[request.type_name](self.provider)})
        else:
            report.add_error(f"{request.type_name} has no answer in this test double: mock it in the test")
        return pb.ReadDataSource.Response(state=to_dynamic_value(state), diagnostics=report.to_pb())

    def UpgradeResourceState(self, request, context):
        return pb.UpgradeResourceState.Response(upgraded_state=to_dynamic_value(json.loads(request.raw_state.json)))

    def PlanResourceChange(self, request, context):
        prior, new = read_dynamic_value(request.prior_state), read_dynamic_value(request.proposed_new_state)
        replaced = []
        if new is not None and prior is None:
            for name, argument in SCHEMA["resource"][request.type_name]["attributes"].items():
                if argument["computed"] and new.get(name) is None:
                    new[name] = Unknown
        elif new is not None and request.type_name in APPLIED:
            names = APPLIED[request.type_name].REPLACED_BY
            replaced = [_to_attribute_path([name]) for name in names if prior.get(name) != new.get(name)]
            default_tags = first(self.provider.get("default_tags")).get("tags") or {}
            new["tags_all"] = {**default_tags, **(new.get("tags") or {})}
        return pb.PlanResourceChange.Response(planned_state=to_dynamic_value(new), requires_replace=replaced)

    def ReadResource(self, request, context):
        state = read_dynamic_value(request.current_state)
        if request.type_name in APPLIED:
            state = in_amazons_order(APPLIED[request.type_name](self.provider).read(state))
        return pb.ReadResource.Response(new_state=to_dynamic_value(state))

    def ApplyResourceChange(self, request, context):
        report = Diagnostics()
        prior, new = read_dynamic_value(request.prior_state), read_dynamic_value(request.planned_state)
        try:
            state = self.apply(request.type_name, prior, new)
        except Exception as error:  # whatever it is, Terraform shall show it
            report.add_error(f"{request.type_name}: {type(error).__name__}", str(error))
            state = prior
        return pb.ApplyResourceChange.Response(new_state=to_dynamic_value(state), diagnostics=report.to_pb())

    def apply(self, kind, prior, new):
        if kind not in APPLIED:
            raise NotImplementedError("this test double can plan it, not apply it")
        resource = APPLIED[kind](self.provider)
        if prior is None:
            return resource.create(new)
        return resource.delete(prior) if new is None else resource.update(prior, new)

    def ImportResourceState(self, request, context):
        state = complete(SCHEMA["resource"][request.type_name], {"id": request.id, "name": request.id})
        imported = pb.ImportResourceState.ImportedResource(type_name=request.type_name, state=to_dynamic_value(state))
        return pb.ImportResourceState.Response(imported_resources=[imported])


class Provider:
    """What the framework asks for; the servicer above answers everything else."""

    def full_name(self):
        return "registry.terraform.io/hashicorp/aws"

    def get_model_prefix(self):
        return "aws_"

    def get_resources(self):
        return []

    def get_data_sources(self):
        return []

    def get_functions(self):
        return []


if __name__ == "__main__":
    tf.provider.ProviderServicer = Servicer
    tf.runner.run_provider(Provider(), sys.argv)
