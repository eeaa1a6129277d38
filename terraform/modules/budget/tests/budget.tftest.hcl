mock_provider "aws" {}

variables {
  emails = ["ann@example.org"]
}

run "it_speaks_before_the_money_is_gone" {
  command = plan

  assert {
    condition = { for notification in aws_budgets_budget.monthly.notification : notification.notification_type => notification.threshold } == {
      ACTUAL     = 80
      FORECASTED = 100
    }
    error_message = "It should tell at 80 % spent and at 100 % foreseen."
  }
  assert {
    condition     = alltrue([for notification in aws_budgets_budget.monthly.notification : tolist(notification.subscriber_email_addresses) == tolist(var.emails)])
    error_message = "Somebody does not hear of it."
  }
}

run "a_name_is_no_address" {
  command = plan

  variables {
    emails = ["ann"]
  }
  expect_failures = [var.emails]
}
