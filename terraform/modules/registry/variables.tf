variable "name" {
  description = "The repository's name."
  type        = string
  default     = "mneme"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z0-9]+([._/-][a-z0-9]+)*$", var.name)) && length(var.name) >= 2 && length(var.name) <= 256
    error_message = "2 to 256 of a-z 0-9, with single . _ - / between them."
  }
}

variable "keep_images" {
  description = "How many images are kept; one of 40 MB costs 0.004 USD a month."
  type        = number
  default     = 10
  nullable    = false

  validation {
    condition     = var.keep_images >= 2 && var.keep_images <= 100 && floor(var.keep_images) == var.keep_images
    error_message = "At least the running image and the one before it, and at most 100."
  }
}

variable "tags" {
  description = "Tags of the repository."
  type        = map(string)
  default     = {}
  nullable    = false
}
