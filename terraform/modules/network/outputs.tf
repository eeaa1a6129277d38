output "vpc_id" {
  description = "The network's id."
  value       = aws_vpc.this.id
}

output "subnet_ids" {
  description = "The subnets that the bot may run in. They are public: its task needs a public address."
  value       = [for subnet in aws_subnet.public : subnet.id]
}
