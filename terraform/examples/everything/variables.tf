variable "region" {
  description = "The region that everything is in."
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

variable "name" {
  description = "The name of the service, the repository and the network."
  type        = string
  default     = "mneme"
  nullable    = false
}

variable "image_tag" {
  description = "The version to run, as pushed to the registry: 1.2.3."
  type        = string
  nullable    = false
}

variable "architecture" {
  description = "ARM64, which costs a fifth less, or X86_64; the image must have it."
  type        = string
  default     = "ARM64"
  nullable    = false
}

variable "spot" {
  description = "Whether to run on spare capacity: 70 % off, and at times none."
  type        = bool
  default     = false
  nullable    = false
}

variable "running" {
  description = "Whether the bot runs; false stops it."
  type        = bool
  default     = true
  nullable    = false
}

variable "token_parameter" {
  description = "The name of the SecureString in SSM Parameter Store that holds Discord's token."
  type        = string
  default     = "/mneme/discord-token"
  nullable    = false
}

variable "environment" {
  description = "More settings of the bot, as in .env.example. Not for secrets."
  type        = map(string)
  default     = {}
  nullable    = false
}

variable "log_retention_days" {
  description = "How long log lines are kept, in days."
  type        = number
  default     = 30
  nullable    = false
}

variable "monthly_usd" {
  description = "What a month of this account should not exceed, in USD."
  type        = number
  default     = 20
  nullable    = false
}

variable "emails" {
  description = "Who gets a mail when the bot is down or the month gets expensive."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.emails) >= 1
    error_message = "At least one address: a bot that is down, or a month that is expensive, should be known to somebody."
  }
}
