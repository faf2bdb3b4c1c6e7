"""The window, as a story sees and touches it: screenshots, a real mouse, a real keyboard, a clock.

A story is a generator that a timer steps: it yields how many seconds to wait. Between two steps
Blender is free, so the interface runs as it does for an artist.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

import bpy

out, speech, long_speech = sys.argv[sys.argv.index("--") + 1 :][:3]
PACKAGE = "bl_ext.user_default.idiolect"
longest_gap_s = 0.0
last_tick: float | None = None
watched: Callable[[], bool]
bpy.context.preferences.view.show_splash = False  # now, before it opens and takes all the events


def say(*words: object) -> None:
    print("STORY", *words, flush=True)


def view() -> tuple[bpy.types.Window, bpy.types.Area, bpy.types.Region]:
    """Window, 3D viewport, and its main region; timers know of no context."""
    window = bpy.context.window_manager.windows[0]
    area = next(area for area in window.screen.areas if area.type == "VIEW_3D")
    return window, area, next(r for r in area.regions if r.type == "WINDOW")


def press(operator: str) -> None:
    """As the button does: invoked, in the viewport, with an undo step."""
    window, area, region = view()
    with bpy.context.temp_override(window=window, screen=window.screen, area=area, region=region):
        module, name = operator.split(".")
        say("press", operator, getattr(getattr(bpy.ops, module), name)("INVOKE_DEFAULT", True))


def picture(name: str) -> None:
    """A screenshot from outside: Blender's own is black without a graphics card."""
    path = str(Path(out) / f"{name}.png")
    subprocess.run(["import", "-window", "root", path], check=True, timeout=60)
    forget_tick()
    say("picture", path)


def cut(name: str, part: str, what: bpy.types.Area | bpy.types.Region) -> None:
    """A part of a screenshot, for the manual."""
    whole, where = Path(out) / f"{name}.png", Path(out) / "manual"
    where.mkdir(exist_ok=True)
    top = bpy.context.window_manager.windows[0].height - what.y - what.height
    crop = f"{what.width}x{what.height}+{what.x}+{top}"
    command = ["convert", whole, "-crop", crop, "+repage", where / f"{part}.png"]
    subprocess.run(list(map(str, command)), check=True, timeout=60)
    forget_tick()


def hands(*words: object) -> None:
    """A real event of mouse or keyboard."""
    global last_tick
    began = time.monotonic()
    subprocess.run(["xdotool", *map(str, words)], check=True, timeout=20)
    if last_tick is not None:  # the time that this took is the story's own
        last_tick += time.monotonic() - began


def forget_tick() -> None:
    """The time just spent waiting for another program is this story's fault, not the add-on's."""
    global last_tick
    last_tick = None


def centre_of_view() -> tuple[int, int]:
    """On the screen, whose y runs downwards."""
    window, _, region = view()
    return region.x + region.width // 3, window.height - region.y - region.height // 2


def view_turned() -> tuple[float, ...]:
    _, area, _ = view()
    return tuple(area.spaces.active.region_3d.view_rotation)


def busy() -> bool:
    job = sys.modules.get(f"{PACKAGE}.jobs.job")
    return job is not None and job.current is not None


def until_done(limit_s: float) -> Iterator[float]:
    started = time.monotonic()
    while busy():
        assert time.monotonic() - started < limit_s, "it takes too long"
        yield 0.1


watched = busy


def module(name: str) -> object:
    """A module of the installed add-on."""
    return sys.modules[f"{PACKAGE}.{name}"]


def shown(limit_s: float = 20.0) -> Iterator[float]:
    """Wait until the live update has caught up."""
    for _ in range(int(limit_s / 0.05)):
        yield 0.05
        if not module("jobs.live").busy():
            return
    raise AssertionError("the change was not shown in time")


def show_tab() -> Iterator[float]:
    """An empty scene, and the add-on's tab in the sidebar."""
    _, area, _ = view()
    for name in ("Cube", "Light", "Camera"):
        if name in bpy.data.objects:
            bpy.data.objects.remove(bpy.data.objects[name])
    area.spaces.active.show_region_ui = True
    area.spaces.active.shading.type = "SOLID"
    area.spaces.active.shading.color_type = "MATERIAL"
    yield 1.5
    sidebar = next(region for region in area.regions if region.type == "UI")
    sidebar.active_panel_category = "Idiolect"  # the tab exists only after one draw
    area.tag_redraw()
    yield 1.0


def add_head() -> Iterator[float]:
    """The built-in head, in the middle of the view."""
    _, area, _ = view()
    press("idiolect.add_head")
    yield from until_done(120)
    space = area.spaces.active
    space.region_3d.view_perspective = "PERSP"
    space.region_3d.view_rotation = (0.716, 0.697, 0.03, 0.03)
    space.region_3d.view_distance, space.lens = 0.75, 85
    space.region_3d.view_location = (0.06, 0.0, 0.14)
    space.clip_start = 0.001
    space.overlay.show_floor = space.overlay.show_axis_x = space.overlay.show_axis_y = False
    bpy.context.window_manager.windows[0].scene.idiolect.character.select_set(False)


def jaw_of(head: bpy.types.Object, frames: range) -> list[float]:
    """How far the jaw is open at frames, from the curve."""
    keying, action = module("keying"), head.data.shape_keys.animation_data.action
    return [float(keying.sample_action(action, ["jawOpen"], [frame])[0, 0]) for frame in frames]


def play(story: Callable[[], Iterator[float]]) -> None:
    """Have a timer tell the story, and a faster one watch the clock."""
    told = story()

    def tick() -> float | None:
        # Leaves by os._exit, so that Blender cannot swallow a failure.
        try:
            return next(told)
        except StopIteration:
            say("all is well")
            bpy.ops.wm.quit_blender()
            return None
        except Exception:
            traceback.print_exc()
            picture("failed")
            sys.stdout.flush()
            os._exit(7)

    bpy.app.timers.register(tick, first_interval=2.0, persistent=True)
    bpy.app.timers.register(_measure, first_interval=3.0, persistent=True)


def watch(condition: Callable[[], bool]) -> None:
    """Measure gaps afresh, while this holds."""
    global watched, longest_gap_s, last_tick
    watched, longest_gap_s, last_tick = condition, 0.0, None


def _measure() -> float:
    """Ticks a hundred times a second; a gap is time in which the interface was frozen."""
    global last_tick, longest_gap_s
    now = time.monotonic()
    if watched():
        if last_tick is not None:
            longest_gap_s = max(longest_gap_s, now - last_tick)
        last_tick = now
    else:
        last_tick = None
    return 0.01
