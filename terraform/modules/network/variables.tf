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
  description = "The availability zones that the bot may run in; none is the region's first two."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = length(var.zones) <= 6 && length(distinct(var.zones)) == length(var.zones)
    error_message = "At most six zones, each once."
  }
}

variable "tags" {
  description = "Tags of everything here."
  type        = map(string)
  default     = {}
  nullable    = false
}
