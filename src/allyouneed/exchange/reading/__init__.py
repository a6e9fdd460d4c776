"""What the readers of several systems' models share."""
