# The bot's tables in DynamoDB, as tables.json declares them: billed by request, recoverable to any second of
# the last 35 days, and protected from being deleted by accident, twice.
data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

module "data" {
  source = "../tables-data"

  table_prefix = var.table_prefix
  partition    = data.aws_partition.current.partition
  region       = data.aws_region.current.region
  account_id   = data.aws_caller_identity.current.account_id
}

resource "aws_dynamodb_table" "this" {
  #checkov:skip=CKV_AWS_119:DynamoDB always encrypts, with a key of its own that costs nothing. kms_key_arn sets another one.
  for_each = module.data.tables

  name      = each.value.name
  hash_key  = each.value.hash_key
  range_key = each.value.range_key

  # A bot is quiet for hours and busy for minutes, and a table that nobody asks costs only its bytes.
  billing_mode = "PAY_PER_REQUEST"

  dynamic "attribute" {
    for_each = each.value.attributes
    content {
      name = attribute.key
      type = attribute.value
    }
  }

  dynamic "local_secondary_index" {
    for_each = each.value.local_indexes
    content {
      name               = local_secondary_index.key
      range_key          = local_secondary_index.value.range_key
      projection_type    = local_secondary_index.value.projection
      non_key_attributes = local_secondary_index.value.attributes
    }
  }

  dynamic "ttl" {
    for_each = each.value.ttl_attribute[*]
    content {
      attribute_name = ttl.value
      enabled        = true
    }
  }

  point_in_time_recovery {
    enabled = var.point_in_time_recovery
  }

  # Not enabled means DynamoDB's own key, not "in the clear".
  server_side_encryption {
    enabled     = var.kms_key_arn != null
    kms_key_arn = var.kms_key_arn
  }

  deletion_protection_enabled = var.deletion_protection

  tags = var.tags

  lifecycle {
    # A change of key would delete the table and make an empty one. What replaces records is a new table and a
    # copy, never a plan that somebody approved in a hurry. Terraform takes no variable here.
    prevent_destroy = true

    # DynamoDB names the attributes of an index in an order of its own, which the provider takes for a change that needs
    # a new table. An index of this kind is made with its table and never changes; `mneme tables check` compares it.
    ignore_changes = [local_secondary_index]
  }
}
