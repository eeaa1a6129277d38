variable "region" {
  description = "The region of the tables."
  type        = string
  default     = "us-east-1"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z]{2,}(-[a-z]+)+-[0-9]+$", var.region))
    error_message = "A region, such as eu-central-1."
  }
}

variable "table_prefix" {
  description = "Put before every table's name; the bot's TABLE_PREFIX."
  type        = string
  default     = ""
  nullable    = false
}

variable "adopt" {
  description = "Tables that are there already and are to be taken over, by their names without the prefix: [\"remember\"]."
  type        = set(string)
  default     = []
  nullable    = false
}

variable "point_in_time_recovery" {
  description = "Whether tables can be brought back as they were at any second of the last 35 days."
  type        = bool
  default     = true
  nullable    = false
}

variable "deletion_protection" {
  description = "Whether DynamoDB refuses to delete the tables, whoever asks."
  type        = bool
  default     = true
  nullable    = false
}

variable "kms_key_arn" {
  description = "The ARN of a KMS key of your own; null is DynamoDB's own, which is free."
  type        = string
  default     = null
}
