# Needs no provider: `terraform test` in this module's folder.

variables {
  declared = jsondecode(file("../../tables.json"))
}

run "every_declared_table_is_there_once" {
  command = plan

  assert {
    condition     = keys(output.tables) == keys(var.declared)
    error_message = "The tables are not those of tables.json."
  }
  assert {
    condition     = alltrue([for key, table in output.tables : table.name == key])
    error_message = "Without a prefix a table has its own name."
  }
}

run "keys_indexes_and_expiry_are_the_declared_ones" {
  command = plan

  assert {
    condition     = alltrue([for key, table in output.tables : table.hash_key == var.declared[key].hash_key.name])
    error_message = "A hash key differs."
  }
  assert {
    condition = alltrue([
      for key, table in output.tables : table.range_key == try(var.declared[key].range_key.name, null)
    ])
    error_message = "A range key differs."
  }
  assert {
    condition = alltrue([
      for key, table in output.tables :
      toset(keys(table.local_indexes)) == toset([for index in var.declared[key].local_indexes : index.name])
    ])
    error_message = "An index is missing, or there is one too many."
  }
  assert {
    condition     = alltrue([for key, table in output.tables : table.ttl_attribute == var.declared[key].ttl_attribute])
    error_message = "An attribute of expiry differs."
  }
}

run "only_keys_are_attributes" {
  command = plan

  assert {
    condition = alltrue([
      for table in output.tables : toset(keys(table.attributes)) == toset(compact(concat(
        [table.hash_key, table.range_key], [for index in table.local_indexes : index.range_key]
      )))
    ])
    error_message = "DynamoDB refuses attributes that no key uses, and keys without an attribute."
  }
  assert {
    condition     = alltrue(flatten([for table in output.tables : [for type in values(table.attributes) : contains(["S", "N", "B"], type)]]))
    error_message = "A key is a text, a number or bytes."
  }
}

run "attributes_are_listed_only_where_an_index_includes_them" {
  command = plan

  assert {
    condition = alltrue(flatten([
      for table in output.tables : [
        for index in table.local_indexes : (index.projection == "INCLUDE") == (try(length(index.attributes), 0) > 0)
      ]
    ]))
    error_message = "INCLUDE names attributes, ALL and KEYS_ONLY name none."
  }
}

run "the_policy_names_these_tables_and_indexes_only" {
  command = plan

  variables {
    table_prefix = "zoo-"
    region       = "eu-central-1"
    account_id   = "123456789012"
  }

  assert {
    condition     = alltrue([for key, table in output.tables : table.name == "zoo-${key}"])
    error_message = "The prefix is missing in a name."
  }
  assert {
    condition = toset(flatten([for statement in output.policy.Statement : statement.Resource])) == toset(flatten([
      for table in output.tables : concat(
        ["arn:aws:dynamodb:eu-central-1:123456789012:table/${table.name}"],
        [for name in keys(table.local_indexes) : "arn:aws:dynamodb:eu-central-1:123456789012:table/${table.name}/index/${name}"],
      )
    ]))
    error_message = "The policy's resources are not exactly the tables and their indexes."
  }
}

run "the_bot_cannot_scan_or_manage_tables" {
  command = plan

  assert {
    condition = length(setintersection(
      flatten([for statement in output.policy.Statement : statement.Action]),
      ["dynamodb:*", "dynamodb:Scan", "dynamodb:CreateTable", "dynamodb:UpdateTable", "dynamodb:DeleteTable", "dynamodb:UpdateTimeToLive"],
    )) == 0
    error_message = "The policy allows more than reading and writing records."
  }
  assert {
    condition     = alltrue([for statement in output.policy.Statement : statement.Effect == "Allow"])
    error_message = "What is not allowed is denied anyway."
  }
}

run "other_partitions_have_other_arns" {
  command = plan

  variables {
    partition = "aws-us-gov"
  }

  assert {
    condition = alltrue(flatten([
      for statement in output.policy.Statement : [for arn in statement.Resource : startswith(arn, "arn:aws-us-gov:dynamodb:*:*:table/")]
    ]))
    error_message = "A resource stayed in another partition."
  }
}

run "a_wrong_prefix_is_refused" {
  command = plan

  variables {
    table_prefix = "zoo/"
  }
  expect_failures = [var.table_prefix]
}
