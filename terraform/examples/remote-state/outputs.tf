output "bucket" {
  description = "The bucket, for backend.tf."
  value       = aws_s3_bucket.state.id
}
