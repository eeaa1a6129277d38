variable "name" {
  description = "The name of the service and, with suffixes, of its parts."
  type        = string
  default     = "mneme"
  nullable    = false

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,30}[a-z0-9]$", var.name))
    error_message = "2 to 32 of a-z 0-9 -, beginning with a letter."
  }
}

variable "image" {
  description = "The bot's image with a tag or digest that never moves: .../mneme:1.2.3."
  type        = string
  nullable    = false

  validation {
    condition     = can(regex("(:[A-Za-z0-9_][A-Za-z0-9_.-]*|@sha256:[0-9a-f]{64})$", var.image)) && !endswith(var.image, ":latest")
    error_message = "Name a version or a digest; what \"latest\" is changes under a running bot."
  }
}

variable "repository_arn" {
  description = "The ARN of the ECR repository that the image is pulled from; null for a public image."
  type        = string
  default     = null

  validation {
    condition     = var.repository_arn == null || can(regex("^arn:[a-z-]+:ecr:[a-z0-9-]+:[0-9]{12}:repository/.+$", var.repository_arn))
    error_message = "That is not the ARN of a repository in ECR."
  }
}

variable "architecture" {
  description = "ARM64, which costs a fifth less, or X86_64; the image must have it."
  type        = string
  default     = "ARM64"
  nullable    = false

  validation {
    condition     = contains(["ARM64", "X86_64"], var.architecture)
    error_message = "ARM64 or X86_64."
  }
}

variable "cpu" {
  description = "CPU of the task in 1/1024: 256 is a quarter of one, and enough."
  type        = number
  default     = 256
  nullable    = false

  validation {
    condition     = contains([256, 512, 1024], var.cpu)
    error_message = "256, 512 or 1024."
  }
}

variable "memory_mib" {
  description = "Memory of the task in MiB."
  type        = number
  default     = 512
  nullable    = false

  validation {
    condition = contains({
      256  = [512, 1024, 2048]
      512  = [1024, 2048, 3072, 4096]
      1024 = [2048, 3072, 4096, 5120, 6144, 7168, 8192]
    }[var.cpu], var.memory_mib)
    error_message = "Fargate has 512, 1024 or 2048 for 256 of CPU, 1024 to 4096 for 512, and 2048 to 8192 for 1024."
  }
}

variable "spot" {
  description = "Whether to run on spare capacity: 70 % off, and at times none. The bot then pauses, and loses nothing but time."
  type        = bool
  default     = false
  nullable    = false
}

variable "running" {
  description = "Whether the bot runs; false stops it, as for restoring a table."
  type        = bool
  default     = true
  nullable    = false
}

variable "table_prefix" {
  description = "The prefix of the tables' names, as given to the module tables."
  type        = string
  default     = ""
  nullable    = false
}

variable "policy_json" {
  description = "What the bot may do: policy_json of the module tables."
  type        = string
  nullable    = false

  validation {
    condition     = can(jsondecode(var.policy_json).Statement)
    error_message = "That is not an IAM policy as JSON."
  }
}

variable "token_parameter" {
  description = "The name of the SecureString in SSM Parameter Store that holds Discord's token. It is put there by hand, so that it never enters Terraform's state."
  type        = string
  default     = "/mneme/discord-token"
  nullable    = false

  validation {
    condition     = can(regex("^/?[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)*$", var.token_parameter)) && length(var.token_parameter) <= 200
    error_message = "A parameter's name, such as /mneme/discord-token; never the token itself."
  }
}

variable "secrets" {
  description = "More settings whose values are secret: the variable's name, and the name of the parameter that holds its value."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = !contains(keys(var.secrets), "DISCORD_TOKEN")
    error_message = "DISCORD_TOKEN comes from token_parameter."
  }
}

variable "secrets_kms_key_arn" {
  description = "The ARN of the KMS key that encrypts the parameters; null is the account's free key, aws/ssm."
  type        = string
  default     = null
}

variable "environment" {
  description = "More settings of the bot, as in .env.example: BOT_OWNERS, BOT_PREFIX, LOG and so on. Not for secrets."
  type        = map(string)
  default     = {}
  nullable    = false

  validation {
    condition     = length(setintersection(keys(var.environment), ["DISCORD_TOKEN", "STORE", "TABLE_PREFIX", "HTTP", "DATA_DIR", "DYNAMODB_ENDPOINT", "LOCALSTACK", "CREATE_TABLES"])) == 0
    error_message = "The token has token_parameter, the prefix table_prefix; the store is DynamoDB, its tables come from Terraform, and HTTP is for the health check."
  }
  validation {
    condition     = alltrue([for name in keys(var.environment) : !startswith(name, "AWS_")])
    error_message = "Credentials and region come from the task's role."
  }
}

variable "vpc_id" {
  description = "The network to run in."
  type        = string
  nullable    = false
}

variable "subnet_ids" {
  description = "The subnets to run in."
  type        = list(string)
  nullable    = false

  validation {
    condition     = length(var.subnet_ids) >= 1
    error_message = "At least one subnet."
  }
}

variable "assign_public_ip" {
  description = "Whether the task gets a public address, its way to Discord in a public subnet; false in a private subnet that has a NAT."
  type        = bool
  default     = true
  nullable    = false
}

variable "outbound_ports" {
  description = "The TCP ports that the bot may call; 443 is Discord and AWS."
  type        = set(number)
  default     = [443]
  nullable    = false

  validation {
    condition     = contains(var.outbound_ports, 443) && alltrue([for port in var.outbound_ports : port >= 1 && port <= 65535])
    error_message = "Ports are 1 to 65535, and 443 is among them: without it there is no Discord."
  }
}

variable "log_retention_days" {
  description = "How long log lines are kept, in days."
  type        = number
  default     = 30
  nullable    = false

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365], var.log_retention_days)
    error_message = "CloudWatch knows 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180 and 365."
  }
}

variable "alarm_emails" {
  description = "Who gets a mail when the bot is down, once they have confirmed AWS's first one; nobody means no alarm."
  type        = list(string)
  default     = []
  nullable    = false

  validation {
    condition     = alltrue([for email in var.alarm_emails : can(regex("^[^@\\s]+@[^@\\s]+$", email))])
    error_message = "Mail addresses."
  }
}

variable "tags" {
  description = "Tags of everything here."
  type        = map(string)
  default     = {}
  nullable    = false
}
