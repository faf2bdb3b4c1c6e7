"""What is stored in the .blend: a character's settings, a module a subject.

``of(target)`` has those of a character, on its object; ``of_scene(scene)`` which one is chosen.
"""

from .character import character_of, of, of_scene, register, unregister

__all__ = ["character_of", "of", "of_scene", "register", "unregister"]
