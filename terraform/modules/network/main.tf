# The cheapest network from which a bot reaches Discord: public subnets without any way in.
#
# The bot only ever calls: it needs a way out (to Discord, which no VPC endpoint reaches) and nothing that listens.
# A public address with no inbound rule costs 3.65 USD a month; a NAT gateway in front of a private subnet costs ten
# times as much and would let in exactly as little. The way to DynamoDB and to the image's layers (S3) is a gateway
# endpoint each, which is free and stays inside AWS.
data "aws_availability_zones" "all" {
  #checkov:skip=CKV_AWS_394:The list has an order, and only its beginning is taken; var.zones pins the zones themselves.
  state = "available"

  # Local zones need an opt-in and have no Fargate.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }
}

data "aws_region" "current" {}

locals {
  zones = length(var.zones) > 0 ? var.zones : slice(data.aws_availability_zones.all.names, 0, 2)
}

resource "aws_vpc" "this" {
  #checkov:skip=CKV2_AWS_11:Flow logs cost more than the bot; nothing can connect, and what goes out is Discord and AWS.
  cidr_block           = var.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true
  tags                 = merge(var.tags, { Name = var.name })
}

# Taken over to empty it: the one that a VPC comes with lets its members talk to each other.
resource "aws_default_security_group" "none" {
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = "${var.name}-none" })
}

resource "aws_internet_gateway" "this" {
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = var.name })
}

# One subnet in each zone, so that a zone that fails does not take the bot along: ECS starts it in another.
resource "aws_subnet" "public" {
  for_each = { for index, zone in local.zones : zone => index }

  vpc_id            = aws_vpc.this.id
  availability_zone = each.key
  cidr_block        = cidrsubnet(var.cidr, 4, each.value)
  # The bot's service asks for its address; nothing else gets one by being here.
  map_public_ip_on_launch = false
  tags                    = merge(var.tags, { Name = "${var.name}-${each.key}" })
}

resource "aws_route_table" "public" {
  vpc_id = aws_vpc.this.id
  tags   = merge(var.tags, { Name = var.name })
}

resource "aws_route" "out" {
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  for_each = aws_subnet.public

  subnet_id      = each.value.id
  route_table_id = aws_route_table.public.id
}

resource "aws_vpc_endpoint" "gateway" {
  for_each = toset(["dynamodb", "s3"])

  vpc_id            = aws_vpc.this.id
  service_name      = "com.amazonaws.${data.aws_region.current.region}.${each.key}"
  vpc_endpoint_type = "Gateway"
  route_table_ids   = [aws_route_table.public.id]
  tags              = merge(var.tags, { Name = "${var.name}-${each.key}" })
}
