variable "table_prefix" {
  description = "Put before every table's name; the bot's TABLE_PREFIX. Keeps several bots apart in one account."
  type        = string
  default     = ""
  nullable    = false
}

variable "point_in_time_recovery" {
  description = "Whether a table can be brought back as it was at any second of the last 35 days (0.20 USD per GB and month)."
  type        = bool
  default     = true
  nullable    = false
}

variable "deletion_protection" {
  description = "Whether DynamoDB refuses to delete a table, whoever asks."
  type        = bool
  default     = true
  nullable    = false
}

variable "kms_key_arn" {
  description = "The ARN of a KMS key of your own (1 USD a month and 0.03 USD per 10,000 uses); null is DynamoDB's own key, which is free."
  type        = string
  default     = null

  validation {
    condition     = var.kms_key_arn == null || can(regex("^arn:[a-z-]+:kms:[a-z0-9-]+:[0-9]{12}:key/.+$", var.kms_key_arn))
    error_message = "That is not the ARN of a key (an alias will not do): arn:aws:kms:REGION:ACCOUNT:key/ID."
  }
}

variable "tags" {
  description = "Tags of every table."
  type        = map(string)
  default     = {}
  nullable    = false
}
