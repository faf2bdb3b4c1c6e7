"""Faces: the built-in head, shape keys for FLAME-topology meshes, lip distances."""
