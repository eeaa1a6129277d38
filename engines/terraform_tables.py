#!/usr/bin/env python3
"""What terraform-apply.sh does to tables behind Terraform's back.

    terraform_tables.py unprotect TABLE     takes its protection from deletion away
    terraform_tables.py original TABLE      makes the table `remember` as the original bot had it, with a record
    terraform_tables.py taken-over TABLE    the record is still there, and the table expires records and is protected
"""
import sys

import boto3

dynamodb = boto3.client("dynamodb")
RECORD = {"discord_server_id": {"N": "81384788765712384"}, "rem_key": {"S": "meeting"}, "rem_value": {"S": "tomorrow"}}


def unprotect(table):
    dynamodb.update_table(TableName=table, DeletionProtectionEnabled=False)


def original(table):
    dynamodb.create_table(
        TableName=table,
        BillingMode="PAY_PER_REQUEST",
        KeySchema=[
            {"AttributeName": "discord_server_id", "KeyType": "HASH"},
            {"AttributeName": "rem_key", "KeyType": "RANGE"},
        ],
        AttributeDefinitions=[
            {"AttributeName": "discord_server_id", "AttributeType": "N"},
            {"AttributeName": "rem_key", "AttributeType": "S"},
        ],
        Tags=[{"Key": "managed_by", "Value": "terraform"}],
    )
    dynamodb.get_waiter("table_exists").wait(TableName=table)
    dynamodb.update_continuous_backups(
        TableName=table, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )
    dynamodb.put_item(TableName=table, Item=RECORD)


def taken_over(table):
    key = {name: RECORD[name] for name in ("discord_server_id", "rem_key")}
    found = dynamodb.get_item(TableName=table, Key=key, ConsistentRead=True).get("Item")
    assert found == RECORD, f"the record became {found}"
    assert dynamodb.describe_table(TableName=table)["Table"]["DeletionProtectionEnabled"], "it can be deleted"
    ttl = dynamodb.describe_time_to_live(TableName=table)["TimeToLiveDescription"]
    assert ttl.get("AttributeName") == "expires_at", f"it expires by {ttl}"


if __name__ == "__main__":
    {"unprotect": unprotect, "original": original, "taken-over": taken_over}[sys.argv[1]](sys.argv[2])
