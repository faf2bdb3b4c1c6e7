"""Render a face in a list of poses, to be looked at: poses in order, each in every view.

Runs where `bpy` is, on a face file as the worker writes it:

    python tests/blender/contact_sheet.py FACE.npz OUT.png [--size 320] [--columns 6]
        [--views front,three_quarter,mouth] [--subdivide 1]
        [--pose "EE: mouthSmileLeft=.4 jawOpen=.1"]…

Prints the order of the pictures. Without --pose it shows the poses that faces are judged by.
"""

from __future__ import annotations

import argparse
import math
import tempfile
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix, Vector

# What a face is judged by: closures, vowels, lids, brows, tongue.
POSES = {
    "neutral": "",
    "jawOpen": "jawOpen=1",
    "closed, jaw down": "jawOpen=1 mouthClose=1",
    "p b m": "jawOpen=.12 mouthClose=.12 mouthPressLeft=.4 mouthPressRight=.4 mouthRollLower=.15",
    "AH": "jawOpen=.45 mouthLowerDownLeft=.3 mouthLowerDownRight=.3 mouthUpperUpLeft=.2 "
    "mouthUpperUpRight=.2",
    "EE": "jawOpen=.1 mouthSmileLeft=.4 mouthSmileRight=.4 mouthStretchLeft=.3 "
    "mouthStretchRight=.3 mouthLowerDownLeft=.4 mouthLowerDownRight=.4 mouthUpperUpLeft=.3 "
    "mouthUpperUpRight=.3",
    "OO": "jawOpen=.12 mouthPucker=.6 mouthFunnel=.4",
    "F V": "jawOpen=.12 mouthRollLower=.45 mouthUpperUpLeft=.25 mouthUpperUpRight=.25 "
    "mouthShrugUpper=.1",
    "pucker": "mouthPucker=1",
    "funnel": "mouthFunnel=1",
    "smile": "mouthSmileLeft=1 mouthSmileRight=1 cheekSquintLeft=.6 cheekSquintRight=.6",
    "frown": "mouthFrownLeft=1 mouthFrownRight=1",
    "press": "mouthPressLeft=1 mouthPressRight=1",
    "roll": "mouthRollLower=1 mouthRollUpper=1",
    "blink": "eyeBlinkLeft=1 eyeBlinkRight=1",
    "half blink": "eyeBlinkLeft=.5 eyeBlinkRight=.5",
    "wide": "eyeWideLeft=1 eyeWideRight=1 browInnerUp=1 browOuterUpLeft=1 browOuterUpRight=1",
    "brows down": "browDownLeft=1 browDownRight=1 eyeSquintLeft=1 eyeSquintRight=1 "
    "noseSneerLeft=1 noseSneerRight=1",
    "look left down": "eyeLookOutLeft=1 eyeLookInRight=1 eyeLookDownLeft=.5 eyeLookDownRight=.5",
    "cheek puff": "cheekPuff=1",
    "tongue": "tongueOut=1 jawOpen=.4",
}

# Where the camera stands (x left, y up, z front), and which part of the head it shows: centre
# height relative to the eyes and picture height, both in distances between the eyes.
VIEWS = {
    "front": ((0.0, 0.02, 1.0), -0.75, 5.0),
    "three_quarter": ((0.75, 0.05, 0.8), -0.75, 5.0),
    "profile": ((1.0, 0.0, 0.02), -0.75, 5.0),
    "back": ((0.5, 0.1, -1.0), -0.75, 5.0),
    "below": ((0.3, -0.75, 1.0), -0.6, 2.6),
    "face": ((0.0, 0.0, 1.0), -0.5, 3.0),
    "mouth": ((0.0, 0.0, 1.0), -1.0, 1.5),
    "mouth_side": ((0.7, 0.05, 0.8), -1.0, 1.5),
    "eyes": ((0.0, 0.05, 1.0), 0.05, 1.9),
    "eye_side": ((0.75, 0.1, 0.8), 0.0, 1.5),
    "ear": ((1.0, 0.0, 0.1), -0.2, 1.6),
}
FOCAL_MM, SENSOR_MM = 85.0, 36.0


def main() -> None:
    """Render the sheet."""
    options = _options()
    poses = dict(POSES)
    if options.pose:
        poses = dict(_named(text) for text in options.pose)
    with np.load(options.face, allow_pickle=False) as file:
        face = {name: file[name] for name in file.files}
    views = options.views.split(",")
    bpy.ops.wm.read_factory_settings(use_empty=True)
    target = _add_face(face, options.subdivide)
    eyes, unit = _eyes(face)
    _add_lights(eyes, unit)
    _set_render(options.size, options.samples)
    pictures = []
    for name, text in poses.items():
        _pose(target, face, text)
        for view in views:
            _aim(eyes, unit, view)
            pictures.append(_render())
        # Saved after every pose: on a busy machine one looks at what is there.
        _save(_tiled(pictures, options.columns), options.out)
        print(name, flush=True)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("face", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--size", type=int, default=320)
    parser.add_argument("--columns", type=int, default=6)
    parser.add_argument("--samples", type=int, default=16)
    parser.add_argument("--subdivide", type=int, default=1)
    parser.add_argument("--views", default="front,mouth")
    parser.add_argument("--pose", action="append", default=[])
    return parser.parse_args()


def _named(text: str) -> tuple[str, str]:
    name, _, weights = text.partition(":")
    return (name, weights) if name not in POSES else (name, POSES[name])


def _blender(points: np.ndarray) -> np.ndarray:
    """From face axes (x left, y up, z front) to Blender's (z up, front towards -y)."""
    return np.stack([points[..., 0], -points[..., 2], points[..., 1]], axis=-1)


def _add_face(face: dict[str, np.ndarray], subdivide: int) -> bpy.types.Mesh:
    mesh = bpy.data.meshes.new("face")
    polygons = [[int(v) for v in row if v >= 0] for row in face["faces"]]
    mesh.from_pydata(_blender(face["vertices"]).tolist(), [], polygons)
    for name, rgba, roughness, scatter in zip(
        face["material_names"],
        face["material_rgba"],
        face["material_roughness"],
        face.get("material_subsurface", np.zeros(len(face["material_names"]))),
        strict=True,
    ):
        material = bpy.data.materials.new(str(name))
        material.use_nodes = True
        shader = material.node_tree.nodes["Principled BSDF"]
        shader.inputs["Base Color"].default_value = [float(v) for v in rgba]
        shader.inputs["Roughness"].default_value = float(roughness)
        shader.inputs["Subsurface Weight"].default_value = float(scatter)
        shader.inputs["Subsurface Radius"].default_value = (1.0, 0.4, 0.2)
        shader.inputs["Subsurface Scale"].default_value = 0.006
        mesh.materials.append(material)
    mesh.polygons.foreach_set("material_index", face["material_index"].astype(np.int32))
    mesh.polygons.foreach_set("use_smooth", np.ones(len(polygons), dtype=bool))
    thing = bpy.data.objects.new("face", mesh)
    bpy.context.scene.collection.objects.link(thing)
    if subdivide:
        modifier = thing.modifiers.new("smooth", "SUBSURF")
        modifier.levels = modifier.render_levels = subdivide
    return mesh


def _eyes(face: dict[str, np.ndarray]) -> tuple[np.ndarray, float]:
    """Point between the eyes and the distance between them."""
    if "eye_centres" in face:
        left, right = face["eye_centres"]
    else:
        iris = [i for i, name in enumerate(face["material_names"]) if str(name) == "iris"]
        used = np.unique(face["faces"][np.isin(face["material_index"], iris)])
        points = face["vertices"][used[used >= 0]]
        left, right = points[points[:, 0] > 0].mean(0), points[points[:, 0] < 0].mean(0)
    return (left + right) / 2, float(np.linalg.norm(left - right))


def _add_lights(eyes: np.ndarray, unit: float) -> None:
    world = bpy.data.worlds.new("world")
    bpy.context.scene.world = world
    world.use_nodes = True
    background = world.node_tree.nodes["Background"]
    background.inputs[0].default_value = (0.32, 0.34, 0.38, 1)
    background.inputs[1].default_value = 0.75
    # Key from the upper right of the picture's left, soft fill, rim: place in units, power.
    for place, power, size, colour in (
        ((-4.8, 5.0, 8.0), 830, 3.2, (1.0, 0.96, 0.9)),
        ((6.4, 1.0, 6.0), 290, 4.8, (0.85, 0.92, 1.0)),
        ((2.4, 6.0, -6.5), 500, 2.4, (1.0, 1.0, 1.0)),
    ):
        light = bpy.data.lights.new("light", "AREA")
        light.energy, light.size, light.color = power * unit * unit, size * unit, colour
        holder = bpy.data.objects.new("light", light)
        bpy.context.scene.collection.objects.link(holder)
        _look(holder, _blender(eyes + np.array(place) * unit), _blender(eyes - [0, unit, 0]))


def _set_render(size: int, samples: int) -> None:
    scene = bpy.context.scene
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    camera.data.lens, camera.data.sensor_width = FOCAL_MM, SENSOR_MM
    camera.data.clip_start = 0.01
    scene.render.engine = "CYCLES"
    scene.cycles.samples = samples
    scene.cycles.use_denoising = True
    scene.cycles.max_bounces = 4
    scene.render.threads_mode, scene.render.threads = "FIXED", 1
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.view_settings.view_transform = "Standard"


def _look(thing: bpy.types.Object, place: np.ndarray, at: np.ndarray) -> None:
    back = (Vector(place) - Vector(at)).normalized()
    right = Vector((0, 0, 1)).cross(back).normalized()
    thing.location = Vector(place)
    thing.rotation_euler = Matrix((right, back.cross(right), back)).transposed().to_euler()


def _aim(eyes: np.ndarray, unit: float, view: str) -> None:
    direction, height, span = VIEWS[view]
    centre = eyes + np.array([0.0, height, -0.5 if span > 2.7 else 0.0]) * unit
    if view == "ear":
        centre = centre + np.array([1.1, 0, -1.0]) * unit
    if view == "eye_side":
        centre = centre + np.array([0.45, 0, 0.0]) * unit
    towards = np.array(direction) / math.sqrt(sum(v * v for v in direction))
    distance = span * unit * FOCAL_MM / SENSOR_MM
    _look(bpy.context.scene.camera, _blender(centre + towards * distance), _blender(centre))


def _pose(mesh: bpy.types.Mesh, face: dict[str, np.ndarray], text: str) -> None:
    names = [str(name) for name in face["key_names"]]
    posed = face["vertices"].astype(np.float64)
    for item in text.split():
        name, _, weight = item.partition("=")
        posed = posed + float(weight) * face["key_offsets"][names.index(name)]
    mesh.vertices.foreach_set("co", _blender(posed).astype(np.float32).ravel())
    mesh.update()


def _render() -> np.ndarray:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "picture.png"
        bpy.context.scene.render.filepath = str(path)
        bpy.ops.render.render(write_still=True)
        image = bpy.data.images.load(str(path))
        pixels = np.empty(image.size[0] * image.size[1] * 4, dtype=np.float32)
        image.pixels.foreach_get(pixels)
        pixels = pixels.reshape(image.size[1], image.size[0], 4)[::-1]
        bpy.data.images.remove(image)
    return pixels


def _tiled(pictures: list[np.ndarray], columns: int) -> np.ndarray:
    height, width, _ = pictures[0].shape
    rows = -(-len(pictures) // columns)
    sheet = np.ones((rows * height, columns * width, 4), dtype=np.float32)
    for k, picture in enumerate(pictures):
        top, left = k // columns * height, k % columns * width
        sheet[top : top + height, left : left + width] = picture
    return sheet


def _save(sheet: np.ndarray, out: Path) -> None:
    image = bpy.data.images.new("sheet", sheet.shape[1], sheet.shape[0])
    image.pixels.foreach_set(np.ascontiguousarray(sheet[::-1]).ravel())
    image.filepath_raw, image.file_format = str(out.resolve()), "PNG"
    image.save()
    bpy.data.images.remove(image)


if __name__ == "__main__":
    main()
