# The tables, and a policy for whoever runs the bot: on a server of yours, in Kubernetes, at another host.
module "tables" {
  source = "../../modules/tables"

  table_prefix           = var.table_prefix
  point_in_time_recovery = var.point_in_time_recovery
  deletion_protection    = var.deletion_protection
  kms_key_arn            = var.kms_key_arn
}

# Tables that are there already, such as the original bot's `remember`, are taken over as they are.
import {
  for_each = var.adopt

  to = module.tables.aws_dynamodb_table.this[each.key]
  id = "${var.table_prefix}${each.key}"
}

# Attach it to the bot's role. A host outside AWS takes short-lived credentials by IAM Roles Anywhere or, where that is
# not possible, the access key of a user that has this policy and no other.
resource "aws_iam_policy" "bot" {
  name        = "${var.table_prefix}mneme"
  description = "What mneme may do: read and write the records of its tables"
  policy      = module.tables.policy_json
}
