output "tables" {
  description = "Every table by its name without the prefix: name, hash_key, range_key, attributes, local_indexes, ttl_attribute."
  value       = local.tables
}

output "policy" {
  description = "The least that the bot needs, as an IAM policy document for jsonencode."
  value       = local.policy
}
