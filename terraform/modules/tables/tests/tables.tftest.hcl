mock_provider "aws" {
  source = "../../mocks"
}

variables {
  declared = jsondecode(file("../../tables.json"))
}

run "the_plan_makes_the_declared_tables" {
  command = plan

  assert {
    condition     = keys(aws_dynamodb_table.this) == keys(var.declared)
    error_message = "The planned tables are not those of tables.json."
  }
  assert {
    condition = alltrue([
      for key, table in aws_dynamodb_table.this : table.hash_key == var.declared[key].hash_key.name
      && table.range_key == try(var.declared[key].range_key.name, null)
    ])
    error_message = "A key differs from tables.json."
  }
  assert {
    condition = alltrue([
      for key, table in aws_dynamodb_table.this :
      # What is not asked for, the provider knows only after it has asked DynamoDB.
      var.declared[key].ttl_attribute == null ? true : one(table.ttl[*].attribute_name) == var.declared[key].ttl_attribute
    ])
    error_message = "An expiry differs from tables.json."
  }
  assert {
    condition = alltrue([
      for key, table in aws_dynamodb_table.this : toset([
        for index in table.local_secondary_index :
        [index.name, index.range_key, index.projection_type, join(",", sort(coalesce(index.non_key_attributes, [])))]
        ]) == toset([
        for index in var.declared[key].local_indexes :
        [index.name, index.range_key.name, index.projection, join(",", sort(index.attributes))]
      ])
    ])
    error_message = "An index differs from tables.json."
  }
}

run "tables_are_safe_by_default" {
  command = plan

  assert {
    condition = alltrue([
      for table in aws_dynamodb_table.this : table.deletion_protection_enabled
      && table.point_in_time_recovery[0].enabled && table.billing_mode == "PAY_PER_REQUEST"
    ])
    error_message = "A table can be deleted, cannot be recovered, or is billed by the hour."
  }
  assert {
    condition     = alltrue([for table in aws_dynamodb_table.this : !table.server_side_encryption[0].enabled])
    error_message = "Without a key of one's own it is DynamoDB's, which is free."
  }
}

run "a_prefix_and_a_key_reach_every_table_and_the_policy" {
  command = plan

  variables {
    table_prefix = "zoo-"
    kms_key_arn  = "arn:aws:kms:eu-central-1:123456789012:key/abc"
  }

  assert {
    condition = alltrue([
      for key, table in aws_dynamodb_table.this : table.name == "zoo-${key}"
      && table.server_side_encryption[0].enabled && table.server_side_encryption[0].kms_key_arn == var.kms_key_arn
    ])
    error_message = "A table has another name or another key."
  }
  assert {
    condition     = alltrue([for key in keys(var.declared) : strcontains(output.policy_json, ":table/zoo-${key}\"")])
    error_message = "The policy lacks a table."
  }
  assert {
    condition     = strcontains(output.policy_json, "dynamodb.eu-central-1.amazonaws.com")
    error_message = "The key may be used through DynamoDB of this region only."
  }
}

run "an_alias_is_no_key" {
  command = plan

  variables {
    kms_key_arn = "alias/mneme"
  }
  expect_failures = [var.kms_key_arn]
}

run "the_policy_fits_into_one" {
  command = plan

  variables {
    table_prefix = "a-prefix-of-twenty-c"
  }

  assert {
    condition     = length(output.policy_json) <= 6144
    error_message = "A managed policy has at most 6,144 characters."
  }
}
