"""What the built-in head's surfaces look like, and the indices by which its pieces name them."""

from __future__ import annotations

from core.face.mesh import Material

SKIN, LIPS, MOUTH, LID_RIM, NOSTRIL = range(5)
EYE_WHITE, IRIS, IRIS_RIM, PUPIL, TEETH, GUMS, TONGUE, BROW, LASHES = range(5, 14)

MATERIALS = (
    Material("skin", (0.60, 0.36, 0.26, 1.0), 0.48, 0.12),
    Material("lips", (0.50, 0.20, 0.17, 1.0), 0.38, 0.10),
    Material("mouth", (0.19, 0.035, 0.035, 1.0), 0.55),
    Material("lid_rim", (0.52, 0.24, 0.20, 1.0), 0.30, 0.10),
    Material("nostril", (0.24, 0.09, 0.07, 1.0), 0.60),
    Material("eye_white", (0.74, 0.72, 0.70, 1.0), 0.12, 0.05),
    Material("iris", (0.075, 0.17, 0.23, 1.0), 0.10),
    Material("iris_rim", (0.025, 0.05, 0.07, 1.0), 0.10),
    Material("pupil", (0.004, 0.004, 0.005, 1.0), 0.06),
    Material("teeth", (0.76, 0.71, 0.63, 1.0), 0.20, 0.05),
    Material("gums", (0.42, 0.13, 0.12, 1.0), 0.32),
    Material("tongue", (0.45, 0.14, 0.14, 1.0), 0.40, 0.05),
    Material("brow", (0.085, 0.047, 0.030, 1.0), 0.80),
    Material("lashes", (0.012, 0.009, 0.008, 1.0), 0.60),
)
