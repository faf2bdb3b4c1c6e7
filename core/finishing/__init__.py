"""What is done to motion after the model, and what has to be kept of the speech to do it again."""
