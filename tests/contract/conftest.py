"""What the contract tests of brokers and stores share."""
