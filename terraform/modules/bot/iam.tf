# Two roles: ECS uses one to start the task, the bot uses the other. Neither can do what the other can.
locals {
  # Only ECS, and only for tasks of this account.
  trust = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ecs-tasks.amazonaws.com" }
      Condition = {
        StringEquals = { "aws:SourceAccount" = local.account }
        ArnLike      = { "aws:SourceArn" = "${local.arn}:ecs:${local.here}:*" }
      }
    }]
  })

  pull = var.repository_arn == null ? [] : [
    {
      Sid      = "Pull"
      Effect   = "Allow"
      Action   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      Resource = [var.repository_arn]
    },
    {
      # A login, which AWS does not limit to a repository; what it may pull says the statement above.
      Sid      = "Login"
      Effect   = "Allow"
      Action   = ["ecr:GetAuthorizationToken"]
      Resource = ["*"]
    },
  ]

  decrypt = [for arn in var.secrets_kms_key_arn[*] : {
    Sid       = "Decrypt"
    Effect    = "Allow"
    Action    = ["kms:Decrypt"]
    Resource  = [arn]
    Condition = { StringEquals = { "kms:ViaService" = "ssm.${local.region}.amazonaws.com" } }
  }]

  execution = {
    Version = "2012-10-17"
    Statement = concat(local.pull, local.decrypt, [
      {
        Sid      = "Secrets"
        Effect   = "Allow"
        Action   = ["ssm:GetParameters"]
        Resource = sort(distinct(values(local.secret_arns)))
      },
      {
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = ["${local.arn}:logs:${local.here}:log-group:${aws_cloudwatch_log_group.this.name}:log-stream:bot/*"]
      },
    ])
  }
}

resource "aws_iam_role" "execution" {
  name               = "${var.name}-execution-${local.region}"
  description        = "What ECS needs to start the bot: its image, its token, its log"
  assume_role_policy = local.trust
  tags               = var.tags
}

resource "aws_iam_role_policy" "execution" {
  name   = "start"
  role   = aws_iam_role.execution.name
  policy = jsonencode(local.execution)
}

resource "aws_iam_role" "task" {
  name               = "${var.name}-task-${local.region}"
  description        = "What the bot may do: read and write the records of its tables"
  assume_role_policy = local.trust
  tags               = var.tags
}

resource "aws_iam_role_policy" "task" {
  name   = "records"
  role   = aws_iam_role.task.name
  policy = var.policy_json
}
