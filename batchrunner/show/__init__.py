"""What people see: folds of facts for terminals, logs and files."""
