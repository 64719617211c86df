"""What the command-line tools share: reading configs and options, launching runs."""
