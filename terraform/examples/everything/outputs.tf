output "image_url" {
  description = "What to push the image to, without its tag."
  value       = module.registry.url
}

output "token_command" {
  description = "Stores Discord's token, or a new one."
  value       = module.bot.token_command
}

output "restart_command" {
  description = "Starts the bot anew, as after a new token."
  value       = "aws ecs update-service --region ${var.region} --cluster ${module.bot.cluster_name} --service ${module.bot.service_name} --force-new-deployment"
}

output "log_command" {
  description = "Shows the log as it is written."
  value       = "aws logs tail --region ${var.region} ${module.bot.log_group} --follow"
}

output "table_arns" {
  description = "The tables' ARNs."
  value       = module.tables.table_arns
}
