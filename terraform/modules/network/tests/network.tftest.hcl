mock_provider "aws" {
  source = "../../mocks"
}

run "two_zones_and_no_address_by_default" {
  command = plan

  assert {
    condition     = { for zone, subnet in aws_subnet.public : zone => subnet.cidr_block } == { "eu-central-1a" = "10.77.0.0/28", "eu-central-1b" = "10.77.0.16/28" }
    error_message = "There should be one subnet in each of the first two zones."
  }
  assert {
    condition     = alltrue([for subnet in aws_subnet.public : !subnet.map_public_ip_on_launch])
    error_message = "A subnet hands out public addresses by itself."
  }
}

run "zones_can_be_pinned" {
  command = plan

  variables {
    zones = ["eu-central-1c"]
  }
  assert {
    condition     = keys(aws_subnet.public) == ["eu-central-1c"]
    error_message = "It is in other zones than asked for."
  }
}

run "nothing_here_is_billed_by_the_hour" {
  command = plan

  assert {
    condition     = alltrue([for endpoint in aws_vpc_endpoint.gateway : endpoint.vpc_endpoint_type == "Gateway"])
    error_message = "Only gateway endpoints are free."
  }
  assert {
    condition     = toset([for endpoint in aws_vpc_endpoint.gateway : endpoint.service_name]) == toset(["com.amazonaws.eu-central-1.dynamodb", "com.amazonaws.eu-central-1.s3"])
    error_message = "DynamoDB and S3 are reached inside AWS."
  }
}

run "a_network_too_small_is_refused" {
  command = plan

  variables {
    cidr = "10.0.0.0/28"
  }
  expect_failures = [var.cidr]
}
