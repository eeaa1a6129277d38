output "table_names" {
  description = "The tables' names, by their name without the prefix."
  value       = { for key, table in aws_dynamodb_table.this : key => table.name }
}

output "table_arns" {
  description = "The tables' ARNs, by their name without the prefix."
  value       = { for key, table in aws_dynamodb_table.this : key => table.arn }
}

output "table_prefix" {
  description = "The prefix: what the bot needs as TABLE_PREFIX."
  value       = var.table_prefix
}

output "policy_json" {
  description = "The least-privilege policy for whoever runs the bot, as JSON: for a role, or for a user on another host."
  value       = jsonencode(merge(module.data.policy, { Statement = concat(module.data.policy.Statement, local.key_statements) }))
}

locals {
  # With a key of one's own, who uses the tables must be allowed to use the key, through DynamoDB only.
  key_statements = [for arn in var.kms_key_arn[*] : {
    Sid       = "Key"
    Effect    = "Allow"
    Action    = ["kms:Decrypt", "kms:DescribeKey", "kms:Encrypt", "kms:GenerateDataKey*", "kms:ReEncrypt*"]
    Resource  = [arn]
    Condition = { StringEquals = { "kms:ViaService" = "dynamodb.${data.aws_region.current.region}.amazonaws.com" } }
  }]
}
