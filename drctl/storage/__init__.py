"""Where objects lie: a directory, an S3 bucket, memory; and wrappers that add behaviour."""
