mock_provider "aws" {}

run "a_tag_means_one_scanned_image" {
  command = plan

  assert {
    condition     = aws_ecr_repository.this.image_tag_mutability == "IMMUTABLE" && aws_ecr_repository.this.image_scanning_configuration[0].scan_on_push
    error_message = "A tag can be moved, or an image comes unscanned."
  }
}

run "old_images_go_and_enough_stay" {
  command = plan

  variables {
    keep_images = 5
  }
  assert {
    condition     = jsondecode(aws_ecr_lifecycle_policy.this.policy).rules[0].selection.countNumber == 5
    error_message = "Another number of images is kept."
  }
  assert {
    condition     = jsondecode(aws_ecr_lifecycle_policy.this.policy).rules[1].selection.tagStatus == "untagged"
    error_message = "What was pushed and lost its tag stays for ever."
  }
}

run "there_must_be_something_to_go_back_to" {
  command = plan

  variables {
    keep_images = 1
  }
  expect_failures = [var.keep_images]
}
