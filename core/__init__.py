"""Everything that computes: speech, motion, faces, the model. PyTorch and numpy, never Blender."""
