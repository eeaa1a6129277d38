mock_provider "aws" {}

variables {
  bucket = "mneme-state-zoo"
}

run "the_state_is_kept_private_and_in_versions" {
  command = plan

  assert {
    condition     = aws_s3_bucket_versioning.state.versioning_configuration[0].status == "Enabled"
    error_message = "A broken state could not be taken back."
  }
  assert {
    condition     = aws_s3_bucket_public_access_block.state.block_public_policy && aws_s3_bucket_public_access_block.state.restrict_public_buckets
    error_message = "The state could become public."
  }
}

run "a_name_that_s3_does_not_take_is_refused" {
  command = plan

  variables {
    bucket = "Mneme_State"
  }
  expect_failures = [var.bucket]
}
