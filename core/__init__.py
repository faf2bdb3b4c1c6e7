"""Everything that computes: speech, motion, faces, the model. PyTorch and numpy, never Blender."""

import os

# Before PyTorch is loaded, or it has no effect. By default PyTorch's threads wait for each other by
# spinning; where another program (Blender at its render, say) has a core, each of a model's
# hundreds of small steps then waits for a whole time slice: 0.3 s became 4 s, measured. Sleeping
# threads cost a little on an idle machine and nothing like that on a busy one.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
