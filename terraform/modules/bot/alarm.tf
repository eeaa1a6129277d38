# A mail when no bot has been running for five minutes. Each running task reports its CPU once a minute for free, so
# the number of samples is the number of tasks, and silence is zero.
locals {
  alarmed = var.running && length(var.alarm_emails) > 0
}

resource "aws_sns_topic" "alarm" {
  #checkov:skip=CKV_AWS_26:It says that a bot is down, which is no secret; CloudWatch cannot publish under the free key.
  count = local.alarmed ? 1 : 0

  name = "${var.name}-alarm"
  tags = var.tags
}

resource "aws_sns_topic_subscription" "alarm" {
  for_each = toset(local.alarmed ? var.alarm_emails : [])

  topic_arn = aws_sns_topic.alarm[0].arn
  protocol  = "email"
  endpoint  = each.key
}

resource "aws_cloudwatch_metric_alarm" "down" {
  count = local.alarmed ? 1 : 0

  alarm_name          = "${var.name}-down"
  alarm_description   = "The bot has not been running for five minutes: see the service's events and the log group ${aws_cloudwatch_log_group.this.name}."
  namespace           = "AWS/ECS"
  metric_name         = "CPUUtilization"
  dimensions          = { ClusterName = aws_ecs_cluster.this.name, ServiceName = aws_ecs_service.this.name }
  statistic           = "SampleCount"
  period              = 60
  evaluation_periods  = 5
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = [aws_sns_topic.alarm[0].arn]
  ok_actions          = [aws_sns_topic.alarm[0].arn]
  tags                = var.tags
}
