output "url" {
  description = "What to push to, without a tag: ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME."
  value       = aws_ecr_repository.this.repository_url
}

output "arn" {
  description = "The repository's ARN, for the permission to pull from it."
  value       = aws_ecr_repository.this.arn
}
