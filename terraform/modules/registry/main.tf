# Where the bot's image is kept: a tag means one image for ever, and each image is scanned as it comes.
resource "aws_ecr_repository" "this" {
  #checkov:skip=CKV_AWS_136:Images hold no secrets, only what can be built from the source; ECR's own encryption is free.
  name                 = var.name
  image_tag_mutability = "IMMUTABLE"
  force_delete         = false
  tags                 = var.tags

  image_scanning_configuration {
    scan_on_push = true
  }

  encryption_configuration {
    encryption_type = "AES256"
  }
}

# An image for two architectures is an index and two untagged images that belong to it. ECR does not expire
# an image while a tagged index points to it, so the second rule takes only what no tag leads to.
resource "aws_ecr_lifecycle_policy" "this" {
  repository = aws_ecr_repository.this.name
  policy = jsonencode({
    rules = [
      {
        rulePriority = 1
        description  = "The newest ${var.keep_images} stay, to go back to"
        selection = {
          tagStatus      = "tagged"
          tagPatternList = ["*"]
          countType      = "imageCountMoreThan"
          countNumber    = var.keep_images
        }
        action = { type = "expire" }
      },
      {
        rulePriority = 2
        description  = "What has no tag goes after a week"
        selection = {
          tagStatus   = "untagged"
          countType   = "sinceImagePushed"
          countUnit   = "days"
          countNumber = 7
        }
        action = { type = "expire" }
      },
    ]
  })
}
