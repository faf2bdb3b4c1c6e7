"""How the model learns: losses and the training loop."""
