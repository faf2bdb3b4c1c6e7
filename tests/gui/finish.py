"""What run.py plays in Blender's window: what an artist does with a result.

Finish and its panels; keys few enough to edit, in the graph editor; a range animated anew; a
correction layer; undo of each by one key.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
import window
from window import centre_of_view, hands, jaw_of, module, picture, press, say, shown, speech, view

FRAMES = range(1, 108)


def head() -> bpy.types.Object:
    """Found afresh: undo makes references stale."""
    return bpy.data.objects["Head"]


def keys() -> dict[str, list[tuple[float, float]]]:
    """Every key of the speech."""
    action = module("keying").speech_action(head().data.shape_keys)
    curves = sys.modules[f"{window.PACKAGE}.keying.actions"].all_curves(action)
    return {c.data_path: [tuple(point.co) for point in c.keyframe_points] for c in curves}


def only_finish() -> Iterator[float]:
    """The Finish panel alone, with its parts open: the whole tab would leave no room for them."""
    types = [getattr(bpy.types, name) for name in dir(bpy.types) if name.startswith("IDIOLECT_PT_")]
    ours = module("ui.finish").CLASSES
    others = [cls for cls in types if cls not in ours]
    for cls in sorted(others, key=lambda cls: not hasattr(cls, "bl_parent_id")):  # parts first
        bpy.utils.unregister_class(cls)
    _, area, _ = view()
    area.tag_redraw()
    yield 1.0
    sidebar = next(region for region in area.regions if region.type == "UI")
    top = view()[0].height - sidebar.y - sidebar.height
    for down in (260, 234):  # the lower one first: opening the upper one moves it
        hands("mousemove", sidebar.x + 90, top + down, "click", 1)
        yield 1.0
    area.tag_redraw()  # in software a panel that has just opened may be drawn half-way
    yield 1.0


def graph_of(*names: str) -> Iterator[float]:
    """The window filled by the graph editor, with these keys' curves in it."""
    main, _, _ = view()
    area = next(area for area in main.screen.areas if area.type == "DOPESHEET_EDITOR")
    area.type = "GRAPH_EDITOR"
    head().select_set(True)
    yield 0.5
    action = head().data.shape_keys.animation_data.action
    for curve in sys.modules[f"{window.PACKAGE}.keying.actions"].all_curves(action):
        curve.select = any(f'"{name}"' in curve.data_path for name in names)
        curve.hide = not curve.select
    region = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=main, screen=main.screen, area=area, region=region):
        bpy.ops.screen.screen_full_area()
    yield 1.0
    area = main.screen.areas[0]
    region = next(region for region in area.regions if region.type == "WINDOW")
    with bpy.context.temp_override(window=main, screen=main.screen, area=area, region=region):
        bpy.ops.graph.view_all()
    yield 1.0


def story() -> Iterator[float]:
    scene = view()[0].scene
    yield from window.show_tab()
    yield from window.add_head()
    head().idiolect.speech = speech
    press("idiolect.animate")
    yield from window.until_done(120)
    yield from only_finish()
    scene.use_preview_range = True
    scene.frame_preview_start, scene.frame_preview_end = 40, 70
    scene.frame_set(29)
    yield 1.0
    picture("f1_finish")

    bpy.ops.ed.undo_push(message="a press")
    before = jaw_of(head(), FRAMES)
    head().idiolect.finish.gain_jaw = 0.4
    bpy.ops.ed.undo_push(message="Jaw")
    yield from shown()
    after = jaw_of(head(), FRAMES)
    assert max(after) < 0.6 * max(before), module("jobs.live").problem
    hands("mousemove", *centre_of_view(), "key", "ctrl+z")
    yield 1.0
    yield from shown()
    assert jaw_of(head(), FRAMES) == before
    say("a gain is seen at once, and undone by one key")

    old = keys()
    head().idiolect.live = False
    head().idiolect.strength = 2.0
    press("idiolect.animate_range")
    yield from window.until_done(60)
    new = keys()
    assert new != old
    for path, points in old.items():
        outside = [point for point in points if not 40 <= point[0] <= 70]
        assert set(outside) <= set(new[path])
    hands("key", "ctrl+z")
    yield 1.5
    assert keys() == old
    say("a range is animated anew, and undone by one key")

    yield from graph_of("jawOpen", "mouthClose")
    picture("f2_sparse_keys")
    main = view_of_any()
    with bpy.context.temp_override(window=main, screen=main.screen, area=main.screen.areas[0]):
        bpy.ops.screen.back_to_previous()
    yield 1.0
    press("idiolect.add_corrections")
    yield 0.5
    block = head().data.shape_keys.key_blocks["jawOpen"]
    scene = view()[0].scene
    for frame, more in ((22, 0.0), (36, 0.0), (29, 0.3)):
        scene.frame_set(frame)
        block.value += more
        block.keyframe_insert("value", frame=frame)
    assert keys() == old
    yield 1.0
    picture("f3_corrections")
    say("a correction lies on a layer of its own")


def view_of_any() -> bpy.types.Window:
    """The window, whatever fills it."""
    return bpy.context.window_manager.windows[0]


window.play(story)
