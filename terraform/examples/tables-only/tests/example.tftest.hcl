mock_provider "aws" {
  source = "../../mocks"
}

run "every_declared_table_and_the_policy" {
  command = plan

  variables {
    table_prefix = "zoo-"
  }
  assert {
    condition     = jsondecode(aws_iam_policy.bot.policy) == jsondecode(module.tables.policy_json)
    error_message = "The policy is not the generated one."
  }
  assert {
    condition     = output.settings == { STORE = "dynamodb", AWS_REGION = "us-east-1", TABLE_PREFIX = "zoo-" }
    error_message = "The bot would look for other tables."
  }
}

run "a_region_is_no_zone" {
  command = plan

  variables {
    region = "us-east-1a"
  }
  expect_failures = [var.region]
}
