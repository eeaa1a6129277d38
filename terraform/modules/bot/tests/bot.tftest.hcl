mock_provider "aws" {
  source = "../../mocks"
}

variables {
  image       = "123456789012.dkr.ecr.eu-central-1.amazonaws.com/mneme:1.2.3"
  policy_json = "{\"Version\":\"2012-10-17\",\"Statement\":[]}"
  vpc_id      = "vpc-1"
  subnet_ids  = ["subnet-1", "subnet-2"]
}

run "the_container_is_locked_down" {
  command = plan

  assert {
    condition     = jsondecode(aws_ecs_task_definition.this.container_definitions)[0].readonlyRootFilesystem
    error_message = "Its file system can be written."
  }
  assert {
    condition     = jsondecode(aws_ecs_task_definition.this.container_definitions)[0].linuxParameters.capabilities.drop == ["ALL"]
    error_message = "It has capabilities."
  }
  assert {
    condition     = !startswith(jsondecode(aws_ecs_task_definition.this.container_definitions)[0].user, "0")
    error_message = "It runs as root."
  }
  assert {
    condition     = try(length(jsondecode(aws_ecs_task_definition.this.container_definitions)[0].portMappings), 0) == 0
    error_message = "It offers a port."
  }
}

run "the_token_is_a_reference_and_no_setting" {
  command = plan

  assert {
    condition = jsondecode(aws_ecs_task_definition.this.container_definitions)[0].secrets == [
      { name = "DISCORD_TOKEN", valueFrom = "arn:aws:ssm:eu-central-1:123456789012:parameter/mneme/discord-token" }
    ]
    error_message = "The token does not come from the parameter."
  }
  assert {
    condition     = !contains(jsondecode(aws_ecs_task_definition.this.container_definitions)[0].environment[*].name, "DISCORD_TOKEN")
    error_message = "The token would stand in the task definition."
  }
}

run "settings_are_added_and_the_store_is_dynamodb" {
  command = plan

  variables {
    table_prefix = "zoo-"
    environment  = { BOT_OWNERS = "100000000000000001", LOG = "debug" }
    secrets      = { RELAY_PASSWORD = "/mneme/relay" }
  }

  assert {
    condition = {
      for setting in jsondecode(aws_ecs_task_definition.this.container_definitions)[0].environment : setting.name => setting.value
      } == {
      STORE        = "dynamodb"
      TABLE_PREFIX = "zoo-"
      AWS_REGION   = "eu-central-1"
      HTTP         = "127.0.0.1:8080"
      LOG          = "debug"
      LOG_FORMAT   = "json"
      BOT_OWNERS   = "100000000000000001"
    }
    error_message = "The settings are others."
  }
  assert {
    condition = toset(one([for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : statement if statement.Sid == "Secrets"]).Resource) == toset([
      "arn:aws:ssm:eu-central-1:123456789012:parameter/mneme/discord-token",
      "arn:aws:ssm:eu-central-1:123456789012:parameter/mneme/relay",
    ])
    error_message = "ECS may read other parameters than those that the bot gets."
  }
}

run "one_task_and_the_new_one_comes_first" {
  command = plan

  assert {
    condition = (
      aws_ecs_service.this.desired_count == 1
      && aws_ecs_service.this.deployment_minimum_healthy_percent == 100
      && aws_ecs_service.this.deployment_maximum_percent == 200
      && aws_ecs_service.this.deployment_circuit_breaker[0].rollback
    )
    error_message = "A deployment would leave a gap, or keep an image that does not start."
  }
  assert {
    condition     = one(aws_ecs_service.this.capacity_provider_strategy).capacity_provider == "FARGATE"
    error_message = "Spare capacity is for those who ask for it."
  }
}

run "the_bot_calls_out_on_one_port" {
  command = plan

  assert {
    condition     = [for rule in aws_vpc_security_group_egress_rule.out : rule.to_port] == [443]
    error_message = "Another port is open."
  }
  assert {
    condition     = aws_ecs_service.this.network_configuration[0].assign_public_ip
    error_message = "In a public subnet there is no way out without an address."
  }
}

run "the_bot_gets_the_given_policy_and_ecs_no_more_than_it_needs" {
  command = plan

  assert {
    condition     = aws_iam_role_policy.task.policy == var.policy_json
    error_message = "The bot has other permissions."
  }
  assert {
    condition = [for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : statement.Action] == [
      ["ssm:GetParameters"], ["logs:CreateLogStream", "logs:PutLogEvents"]
    ]
    error_message = "For a public image ECS reads the token and writes the log."
  }
  assert {
    condition     = jsondecode(aws_iam_role.task.assume_role_policy).Statement[0].Condition.StringEquals["aws:SourceAccount"] == "123456789012"
    error_message = "Another account's tasks could take the role."
  }
}

run "a_private_image_is_pulled_from_its_repository_only" {
  command = plan

  variables {
    repository_arn = "arn:aws:ecr:eu-central-1:123456789012:repository/mneme"
  }
  assert {
    condition     = one([for statement in jsondecode(aws_iam_role_policy.execution.policy).Statement : statement if statement.Sid == "Pull"]).Resource == [var.repository_arn]
    error_message = "ECS may pull other images."
  }
}

run "it_can_be_stopped_and_no_alarm_rings" {
  command = plan

  variables {
    running      = false
    alarm_emails = ["ann@example.org"]
  }
  assert {
    condition     = aws_ecs_service.this.desired_count == 0 && length(aws_cloudwatch_metric_alarm.down) == 0
    error_message = "It runs, or an alarm rings for a bot that was stopped on purpose."
  }
}

run "silence_is_an_alarm" {
  command = plan

  variables {
    alarm_emails = ["ann@example.org"]
  }
  assert {
    condition     = aws_cloudwatch_metric_alarm.down[0].treat_missing_data == "breaching" && aws_cloudwatch_metric_alarm.down[0].statistic == "SampleCount"
    error_message = "A bot that is gone reports nothing, and that must ring."
  }
  assert {
    condition     = keys(aws_sns_topic_subscription.alarm) == ["ann@example.org"]
    error_message = "Nobody hears it."
  }
}

run "a_version_that_moves_is_refused" {
  command = plan

  variables {
    image = "mneme:latest"
  }
  expect_failures = [var.image]
}

run "a_token_among_the_settings_is_refused" {
  command = plan

  variables {
    environment = { DISCORD_TOKEN = "hush" }
  }
  expect_failures = [var.environment]
}

run "what_fargate_does_not_have_is_refused" {
  command = plan

  variables {
    cpu        = 1024
    memory_mib = 512
  }
  expect_failures = [var.memory_mib]
}

run "another_architecture_is_refused" {
  command = plan

  variables {
    architecture = "arm"
  }
  expect_failures = [var.architecture]
}
