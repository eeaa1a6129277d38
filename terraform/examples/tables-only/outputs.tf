output "settings" {
  description = "What the bot needs in its environment, besides its token."
  value = {
    STORE        = "dynamodb"
    AWS_REGION   = var.region
    TABLE_PREFIX = module.tables.table_prefix
  }
}

output "table_arns" {
  description = "The tables' ARNs."
  value       = module.tables.table_arns
}

output "policy_arn" {
  description = "The policy for the role or user that runs the bot."
  value       = aws_iam_policy.bot.arn
}
