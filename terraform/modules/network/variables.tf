variable "name" {
  description = "The name of the network and, with a suffix, of its parts."
  type        = string
  default     = "mneme"
  nullable    = false
}

variable "cidr" {
  description = "The addresses of the network, from /16 to /24; they matter only if it is ever connected to another."
  type        = string
  default     = "10.77.0.0/24"
  nullable    = false

  validation {
    condition     = can(cidrnetmask(var.cidr)) && try(tonumber(split("/", var.cidr)[1]) >= 16 && tonumber(split("/", var.cidr)[1]) <= 24, false)
    error_message = "That is not a network of IPv4 between /16 and /24, such as 10.77.0.0/24."
  }
}

variable "zones" {
  description = "In how many availability zones the bot may run."
  type        = number
  default     = 2
  nullable    = false

  validation {
    condition     = contains([1, 2, 3], var.zones)
    error_message = "One, two or three zones."
  }
}

variable "tags" {
  description = "Tags of everything here."
  type        = map(string)
  default     = {}
  nullable    = false
}
