variable "region" {
  description = "The bucket's region."
  type        = string
  default     = "us-east-1"
  nullable    = false
}

variable "bucket" {
  description = "The bucket's name, which must be new in all of AWS: mneme-state-YOURNAME."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$", var.bucket))
    error_message = "3 to 63 of a-z 0-9 -."
  }
}
