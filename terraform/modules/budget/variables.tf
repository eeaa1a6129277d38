variable "name" {
  description = "The budget's name."
  type        = string
  default     = "mneme"
  nullable    = false
}

variable "monthly_usd" {
  description = "What a month of this account should not exceed, in USD."
  type        = number
  default     = 20
  nullable    = false

  validation {
    condition     = var.monthly_usd >= 1
    error_message = "At least 1 USD."
  }
}

variable "emails" {
  description = "Who gets the mail."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.emails) >= 1 && length(var.emails) <= 10 && alltrue([for email in var.emails : can(regex("^[^@\\s]+@[^@\\s]+$", email))])
    error_message = "One to ten mail addresses."
  }
}

variable "tags" {
  description = "Tags of the budget."
  type        = map(string)
  default     = {}
  nullable    = false
}
