output "cluster_name" {
  description = "The cluster, for `aws ecs` commands."
  value       = aws_ecs_cluster.this.name
}

output "service_name" {
  description = "The service, for `aws ecs` commands."
  value       = aws_ecs_service.this.name
}

output "log_group" {
  description = "Where the log is: `aws logs tail GROUP --follow`."
  value       = aws_cloudwatch_log_group.this.name
}

output "security_group_id" {
  description = "The bot's security group, which lets nothing in."
  value       = aws_security_group.this.id
}

output "task_role_arn" {
  description = "The role that the bot has."
  value       = aws_iam_role.task.arn
}

output "token_command" {
  description = "Stores Discord's token; asks for it, so that it stands in no history, and a new one replaces the old."
  value       = "read -rsp 'Token: ' token && aws ssm put-parameter --region ${local.region} --name ${var.token_parameter} --type SecureString --overwrite --value \"$token\"; unset token"
}
