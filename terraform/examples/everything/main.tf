# All that a bot needs in an account: its tables, its image, its network, its task, and a mail about money.
# README.md, two folders up, has the order of the first steps and what a month costs.
module "tables" {
  source = "../../modules/tables"

  table_prefix = var.table_prefix
}

# Tables that are there already, such as the original bot's `remember`, are taken over as they are.
import {
  for_each = var.adopt

  to = module.tables.aws_dynamodb_table.this[each.key]
  id = "${var.table_prefix}${each.key}"
}

module "registry" {
  source = "../../modules/registry"

  name = var.name
}

module "network" {
  source = "../../modules/network"

  name = var.name
}

module "bot" {
  source = "../../modules/bot"

  name           = var.name
  image          = "${module.registry.url}:${var.image_tag}"
  repository_arn = module.registry.arn
  architecture   = var.architecture
  spot           = var.spot
  running        = var.running

  table_prefix    = module.tables.table_prefix
  policy_json     = module.tables.policy_json
  token_parameter = var.token_parameter
  environment     = var.environment

  vpc_id     = module.network.vpc_id
  subnet_ids = module.network.subnet_ids

  log_retention_days = var.log_retention_days
  alarm_emails       = var.emails
}

module "budget" {
  source = "../../modules/budget"

  name        = var.name
  monthly_usd = var.monthly_usd
  emails      = var.emails
}
