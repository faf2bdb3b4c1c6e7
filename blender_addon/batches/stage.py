"""A small stage for renders: a camera on the face, three lights, a soft background.

Chosen for machines without a graphics card. Measured on the built-in head at 480 × 540, in seconds
of processor time a frame: Cycles with 4 samples and the fast denoiser 2.0, with 16 samples and no
denoiser 7.8 and still grainy, Eevee (which must do a graphics card's work in software) about 8,
Workbench 0.5 but plain. Two cores share the work.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import addon_utils
import bpy
import numpy as np
from mathutils import Vector

from ..rig.meshes import basis_of, speech_keys_of

ENGINES = ("cycles", "eevee", "workbench")
SAMPLES = {"cycles": 4, "eevee": 16, "workbench": 8}
"""Samples a pixel, where nobody asks for another number."""

_GRAINY_SAMPLES = 16
"""For Cycles in builds without a denoiser."""


_LENS_MM = 85.0
_SENSOR_MM = 36.0
# Name, where in face sizes (subject's left, to the camera, up), watts, size, colour.
_LIGHTS = (
    ("Key", (-1.9, 2.6, 1.6), 80.0, 1.1, (1.0, 0.95, 0.89)),
    ("Fill", (2.4, 2.0, 0.3), 16.0, 1.8, (0.86, 0.92, 1.0)),
    ("Rim", (1.2, -2.0, 1.9), 20.0, 0.9, (1.0, 0.97, 0.94)),
)


def build(scene: bpy.types.Scene, actor: bpy.types.Object) -> None:
    """Add camera, lights and background around a character's face."""
    centre, size = face_of(actor)
    collection = bpy.data.collections.new("Stage")
    scene.collection.children.link(collection)

    camera = bpy.data.objects.new("Camera", bpy.data.cameras.new("Camera"))
    camera.data.lens, camera.data.sensor_width = _LENS_MM, _SENSOR_MM
    camera.data.sensor_fit = "VERTICAL"
    camera.data.sensor_height = _SENSOR_MM
    camera.data.clip_start, camera.data.clip_end = size * 0.05, size * 100
    collection.objects.link(camera)
    # The head fills the picture's height: what the speech keys move reaches from throat to brows.
    _look(camera, centre, Vector((-0.16, 1.0, 0.05)), size * 0.98 * _LENS_MM / _SENSOR_MM)
    scene.camera = camera

    for name, place, watts, width, colour in _LIGHTS:
        light: Any = bpy.data.lights.new(name, "AREA")
        light.energy, light.size, light.color = watts * size * size, width * size, colour
        lamp = bpy.data.objects.new(name, light)
        collection.objects.link(lamp)
        direction = Vector(place)
        _look(lamp, centre, direction, direction.length * size)
    scene.world = _backdrop()
    # AgX, the default, is made for strong light; on a face in soft light it looks pale.
    scene.view_settings.view_transform = "Standard"


def face_of(actor: bpy.types.Object) -> tuple[Vector, float]:
    """Middle and height, in world space, of what the speech keys move; else of the whole mesh."""
    at_rest = basis_of(actor)
    moved = np.zeros(len(at_rest), bool)
    blocks = actor.data.shape_keys.key_blocks if actor.data.shape_keys else {}
    for channel in ("jawOpen", "mouthPucker", "browInnerUp", "eyeBlinkLeft", "eyeBlinkRight"):
        name = speech_keys_of(actor).get(channel)
        if name:
            flat = np.empty(at_rest.size, np.float32)
            blocks[name].data.foreach_get("co", flat)
            away = np.linalg.norm(flat.reshape(-1, 3) - at_rest, axis=1)
            moved |= away > away.max() * 0.05
    points = at_rest[moved] if moved.any() else at_rest
    corners = [
        actor.matrix_world @ Vector(corner) for corner in (points.min(axis=0), points.max(axis=0))
    ]
    middle = (corners[0] + corners[1]) / 2
    return middle, max(abs(corners[1].z - corners[0].z), 1e-3) * 1.25


def set_engine(scene: bpy.types.Scene, engine: str, samples: int | None = None) -> None:
    """Choose how it is rendered, by the name that this Blender has for it."""
    if engine == "cycles":
        addon_utils.enable("cycles")
        scene.render.engine = "CYCLES"
        _set_cycles(scene.cycles, samples)
        scene.render.use_persistent_data = True
    elif engine == "eevee":
        new_name = bpy.app.version >= (5, 0, 0)
        scene.render.engine = "BLENDER_EEVEE" if new_name else "BLENDER_EEVEE_NEXT"
        scene.eevee.taa_render_samples = samples or SAMPLES[engine]
    else:
        scene.render.engine = "BLENDER_WORKBENCH"
        scene.display.shading.light = "STUDIO"
        scene.display.shading.color_type = "MATERIAL"
        scene.display.shading.show_cavity = True
        scene.display.render_aa = "8"


def _set_cycles(cycles: Any, samples: int | None) -> None:
    """Few samples and a fast denoiser; the noise is the same in each frame, so nothing crawls."""
    try:
        cycles.denoiser = "OPENIMAGEDENOISE"
        cycles.use_denoising = True
    except TypeError:  # built without it, as by some Linux distributions
        cycles.use_denoising = False
    else:
        cycles.denoising_quality = "FAST"
        cycles.denoising_input_passes = "RGB"
        cycles.denoising_prefilter = "NONE"
    cycles.samples = samples or (SAMPLES["cycles"] if cycles.use_denoising else _GRAINY_SAMPLES)
    cycles.use_adaptive_sampling = False
    cycles.use_light_tree = False  # pays off with many lights; here are three
    cycles.max_bounces, cycles.diffuse_bounces = 3, 2
    cycles.caustics_reflective = cycles.caustics_refractive = False
    cycles.sample_clamp_indirect = 2.0


def set_video(scene: bpy.types.Scene, path: Path) -> None:
    """Write an mp4 that plays everywhere: H.264 with AAC sound."""
    settings, ffmpeg = scene.render.image_settings, scene.render.ffmpeg
    if hasattr(settings, "media_type"):  # Blender 5.0 on
        settings.media_type = "VIDEO"
    settings.file_format = "FFMPEG"
    ffmpeg.format, ffmpeg.codec = "MPEG4", "H264"
    ffmpeg.constant_rate_factor, ffmpeg.gopsize = "HIGH", 12
    ffmpeg.audio_codec, ffmpeg.audio_bitrate = "AAC", 192
    scene.render.filepath = str(path)


def set_pictures(scene: bpy.types.Scene, path: Path) -> None:
    """Write PNG files."""
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "IMAGE"
    settings.file_format, settings.color_mode = "PNG", "RGB"
    scene.render.filepath = str(path)


def render(scene: bpy.types.Scene, on_frame: Callable[[int, int], None]) -> None:
    """Render the scene's frame range to where ``set_video`` or ``set_pictures`` said.

    Args:
        scene: what to render.
        on_frame: told how many frames of how many are done.
    """
    total = scene.frame_end - scene.frame_start + 1

    def told(rendered: bpy.types.Scene, *_: object) -> None:
        on_frame(rendered.frame_current - rendered.frame_start + 1, total)

    bpy.app.handlers.render_write.append(told)
    try:
        bpy.ops.render.render(animation=True, scene=scene.name)
    finally:
        bpy.app.handlers.render_write.remove(told)


def render_stills(scene: bpy.types.Scene, frames: list[int], paths: list[Path]) -> None:
    """Render single frames to PNG files."""
    now = scene.frame_current
    for frame, path in zip(frames, paths, strict=True):
        scene.frame_set(frame)
        set_pictures(scene, path)
        bpy.ops.render.render(write_still=True, scene=scene.name)
    scene.frame_set(now)


def _look(what: bpy.types.Object, at: Vector, direction: Vector, distance: float) -> None:
    """Place an object so that it looks at a point. ``direction``: left, towards the viewer, up."""
    offset = Vector((direction.x, -direction.y, direction.z)).normalized() * distance
    what.location = at + offset
    what.rotation_euler = offset.to_track_quat("Z", "Y").to_euler()


def _backdrop() -> bpy.types.World:
    """Even light for the scene; a soft vignette for the camera."""
    world = bpy.data.worlds.new("Backdrop")
    if bpy.app.version < (5, 0, 0):
        world.use_nodes = True
    tree = world.node_tree
    tree.nodes.clear()
    nodes, links = tree.nodes, tree.links
    window = nodes.new("ShaderNodeTexCoord")
    centred = nodes.new("ShaderNodeMapping")
    centred.inputs["Location"].default_value = (-0.5, -0.55, 0.0)
    gradient = nodes.new("ShaderNodeTexGradient")
    gradient.gradient_type = "SPHERICAL"
    ramp = nodes.new("ShaderNodeValToRGB")
    ramp.color_ramp.elements[0].position, ramp.color_ramp.elements[1].position = 0.15, 0.95
    ramp.color_ramp.elements[0].color = (0.05, 0.07, 0.1, 1.0)
    ramp.color_ramp.elements[1].color = (0.24, 0.3, 0.37, 1.0)
    seen, light = nodes.new("ShaderNodeBackground"), nodes.new("ShaderNodeBackground")
    light.inputs["Color"].default_value = (0.62, 0.68, 0.78, 1.0)
    light.inputs["Strength"].default_value = 0.3
    path, mix = nodes.new("ShaderNodeLightPath"), nodes.new("ShaderNodeMixShader")
    output = nodes.new("ShaderNodeOutputWorld")
    links.new(window.outputs["Window"], centred.inputs["Vector"])
    links.new(centred.outputs["Vector"], gradient.inputs["Vector"])
    links.new(gradient.outputs["Fac"], ramp.inputs["Fac"])
    links.new(ramp.outputs["Color"], seen.inputs["Color"])
    links.new(path.outputs["Is Camera Ray"], mix.inputs["Fac"])
    links.new(light.outputs["Background"], mix.inputs[1])
    links.new(seen.outputs["Background"], mix.inputs[2])
    links.new(mix.outputs["Shader"], output.inputs["Surface"])
    return world
