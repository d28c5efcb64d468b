"""What the `patterns` command does, a module a command; `jobs.cli` only reads arguments and prints."""
