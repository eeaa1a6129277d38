mock_provider "aws" {
  source = "../../mocks"
}

variables {
  image_tag = "1.2.3"
  emails    = ["ann@example.org"]
}

run "it_plans_with_a_version_and_an_address" {
  command = plan

  assert {
    condition     = strcontains(output.token_command, "--name /mneme/discord-token --type SecureString")
    error_message = "The token would be stored elsewhere, or in the clear."
  }
}

run "nobody_to_tell_is_refused" {
  command = plan

  variables {
    emails = []
  }
  expect_failures = [var.emails]
}
