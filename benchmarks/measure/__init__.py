"""What a training step costs: how that grows with each size, and what switches of PyTorch's change."""
