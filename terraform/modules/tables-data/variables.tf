variable "table_prefix" {
  description = "Put before every table's name; the bot's TABLE_PREFIX. Keeps several bots apart in one account."
  type        = string
  default     = ""
  nullable    = false

  validation {
    condition     = can(regex("^[A-Za-z0-9_.-]{0,100}$", var.table_prefix))
    error_message = "At most 100 of a-z A-Z 0-9 - _ . are allowed: the bot refuses anything else."
  }
}

variable "partition" {
  description = "The partition of AWS in the permissions: aws, aws-cn or aws-us-gov."
  type        = string
  default     = "aws"
  nullable    = false
}

variable "region" {
  description = "The region that the permissions are for; * is any."
  type        = string
  default     = "*"
  nullable    = false
}

variable "account_id" {
  description = "The account that the permissions are for; * is any."
  type        = string
  default     = "*"
  nullable    = false

  validation {
    condition     = can(regex("^([0-9]{12}|\\*)$", var.account_id))
    error_message = "An account's id has twelve digits; * is any."
  }
}
