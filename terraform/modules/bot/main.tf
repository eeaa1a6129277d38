# One task of the bot on Fargate: nothing listens, nothing is written to its disk, and it may do nothing in AWS but
# read and write the records of its own tables.
data "aws_caller_identity" "current" {}
data "aws_partition" "current" {}
data "aws_region" "current" {}

locals {
  region  = data.aws_region.current.region
  account = data.aws_caller_identity.current.account_id
  # ARNs of this account and region begin with this, after the name of the service.
  here = "${local.region}:${local.account}"
  arn  = "arn:${data.aws_partition.current.partition}"

  secrets = merge({ DISCORD_TOKEN = var.token_parameter }, var.secrets)
  secret_arns = {
    for variable, parameter in local.secrets : variable => "${local.arn}:ssm:${local.here}:parameter/${trimprefix(parameter, "/")}"
  }

  environment = merge(
    { LOG = "info", LOG_FORMAT = "json" },
    var.environment,
    {
      # Said outright: with credentials missing, `auto` would begin a new and empty store inside the container.
      STORE        = "dynamodb"
      TABLE_PREFIX = var.table_prefix
      AWS_REGION   = local.region
      # For the health check, which runs in the same container; nobody else can reach it.
      HTTP = "127.0.0.1:8080"
    },
  )
}

resource "aws_ecs_cluster" "this" {
  #checkov:skip=CKV_AWS_65:Container Insights costs more than the bot; the service's own metrics are free, and the alarm uses them.
  name = var.name
  tags = var.tags

  setting {
    name  = "containerInsights"
    value = "disabled"
  }
}

resource "aws_ecs_cluster_capacity_providers" "this" {
  cluster_name       = aws_ecs_cluster.this.name
  capacity_providers = ["FARGATE", "FARGATE_SPOT"]
}

resource "aws_ecs_task_definition" "this" {
  family                   = var.name
  requires_compatibilities = ["FARGATE"]
  network_mode             = "awsvpc"
  cpu                      = var.cpu
  memory                   = var.memory_mib
  execution_role_arn       = aws_iam_role.execution.arn
  task_role_arn            = aws_iam_role.task.arn
  tags                     = var.tags

  runtime_platform {
    operating_system_family = "LINUX"
    cpu_architecture        = var.architecture
  }

  container_definitions = jsonencode([{
    name      = "mneme"
    image     = var.image
    command   = ["run"]
    essential = true

    user                   = "65532:65532"
    readonlyRootFilesystem = true
    privileged             = false
    linuxParameters = {
      capabilities       = { drop = ["ALL"] }
      initProcessEnabled = true
    }

    # Sorted by name, so that a plan without a change shows none.
    environment = [for name, value in local.environment : { name = name, value = value }]
    secrets     = [for name, parameter in local.secret_arns : { name = name, valueFrom = parameter }]

    healthCheck = {
      command     = ["CMD", "/usr/local/bin/mneme", "health"]
      interval    = 30
      timeout     = 5
      retries     = 3
      startPeriod = 60
    }
    # The bot finishes running commands for up to 10 seconds after SIGTERM.
    stopTimeout = 30

    logConfiguration = {
      logDriver = "awslogs"
      options = {
        awslogs-group         = aws_cloudwatch_log_group.this.name
        awslogs-region        = local.region
        awslogs-stream-prefix = "bot"
        # If the logs cannot be delivered, the bot goes on and they are dropped, not the other way round.
        mode            = "non-blocking"
        max-buffer-size = "4m"
      }
    }
  }])
}

resource "aws_ecs_service" "this" {
  #checkov:skip=CKV_AWS_333:The way out to Discord is a public address without any inbound rule; a NAT gateway costs ten times as much. assign_public_ip = false is for a network that has one.
  name             = var.name
  cluster          = aws_ecs_cluster.this.id
  task_definition  = aws_ecs_task_definition.this.arn
  desired_count    = var.running ? 1 : 0
  platform_version = "LATEST"
  propagate_tags   = "SERVICE"
  tags             = var.tags

  # The new task starts before the old one stops. For some seconds both hear every event, and each event still has
  # one effect and one reply: its id is the token of the change.
  deployment_minimum_healthy_percent = 100
  deployment_maximum_percent         = 200

  # An image that does not become healthy is taken back.
  deployment_circuit_breaker {
    enable   = true
    rollback = true
  }

  capacity_provider_strategy {
    capacity_provider = var.spot ? "FARGATE_SPOT" : "FARGATE"
    weight            = 1
  }

  network_configuration {
    subnets          = var.subnet_ids
    security_groups  = [aws_security_group.this.id]
    assign_public_ip = var.assign_public_ip
  }

  depends_on = [
    aws_ecs_cluster_capacity_providers.this,
    aws_iam_role_policy.execution,
    aws_iam_role_policy.task,
    aws_vpc_security_group_egress_rule.out,
  ]
}

# No inbound rule: whoever finds the public address finds nothing.
resource "aws_security_group" "this" {
  name        = var.name
  description = "The bot calls out; nobody calls in"
  vpc_id      = var.vpc_id
  tags        = merge(var.tags, { Name = var.name })
}

resource "aws_vpc_security_group_egress_rule" "out" {
  for_each = toset([for port in var.outbound_ports : tostring(port)])

  security_group_id = aws_security_group.this.id
  description       = each.key == "443" ? "Discord and AWS" : "Port ${each.key}"
  cidr_ipv4         = "0.0.0.0/0"
  ip_protocol       = "tcp"
  from_port         = tonumber(each.key)
  to_port           = tonumber(each.key)
  tags              = var.tags
}

resource "aws_cloudwatch_log_group" "this" {
  #checkov:skip=CKV_AWS_158:The log holds ids, names of commands and errors, no tokens and no messages; CloudWatch's own encryption is free.
  #checkov:skip=CKV_AWS_338:The log is for finding faults; keeping whom the bot answered for a year would need a reason.
  name              = "/mneme/${var.name}"
  retention_in_days = var.log_retention_days
  tags              = var.tags
}
