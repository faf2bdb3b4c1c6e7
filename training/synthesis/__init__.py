"""Training data made by commands: speech with phone times, and procedural motion for it."""
