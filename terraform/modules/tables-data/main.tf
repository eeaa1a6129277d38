# The tables and the permissions as data: no resources and no provider, so that `terraform test` needs neither
# an account nor the network. Everything comes from tables.json and policy.json, which the bot's code generates.
terraform {
  required_version = ">= 1.11"
}

locals {
  declared = jsondecode(file("${path.module}/../../tables.json"))

  tables = {
    for key, table in local.declared : key => {
      name      = "${var.table_prefix}${key}"
      hash_key  = table.hash_key.name
      range_key = try(table.range_key.name, null)

      # DynamoDB wants each key attribute once, and no other attribute.
      attributes = {
        for attribute in concat(
          [table.hash_key],
          table.range_key == null ? [] : [table.range_key],
          [for index in table.local_indexes : index.range_key],
        ) : attribute.name => attribute.type
      }

      local_indexes = {
        for index in table.local_indexes : index.name => {
          range_key  = index.range_key.name
          projection = index.projection
          # "All" and "keys only" name no attributes.
          attributes = index.projection == "INCLUDE" ? index.attributes : null
        }
      }

      ttl_attribute = table.ttl_attribute
    }
  }

  # The generated policy speaks of any account and region; this deployment has one of each, and perhaps a prefix.
  arn    = "arn:${var.partition}:dynamodb:${var.region}:${var.account_id}:table/${var.table_prefix}"
  policy = jsondecode(replace(file("${path.module}/../../policy.json"), "arn:aws:dynamodb:*:*:table/", local.arn))
}
