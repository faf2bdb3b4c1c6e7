"""What run.py plays in Blender's window, with a real mouse and a real keyboard.

The story is a generator that a timer steps: it yields how many seconds to wait. Between two steps
Blender is free, so the interface runs as it does for an artist.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

import bpy

out, speech, long_speech = sys.argv[sys.argv.index("--") + 1 :][:3]
PACKAGE = "bl_ext.user_default.idiolect"
longest_gap_s = 0.0
last_tick: float | None = None
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


def hands(*words: object) -> None:
    """A real event of mouse or keyboard."""
    subprocess.run(["xdotool", *map(str, words)], check=True, timeout=20)
    forget_tick()


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


def traces() -> tuple:
    """What a job that was cancelled must not have changed."""
    scene = bpy.context.window_manager.windows[0].scene
    editor = scene.sequence_editor
    return (
        [action.name for action in bpy.data.actions],
        [sound.name for sound in bpy.data.sounds],
        editor is None or len(editor.strips_all),
        (scene.frame_start, scene.frame_end, scene.sync_mode),
        [key.animation_data is not None for key in bpy.data.shape_keys],
        [one.idiolect.mark for one in bpy.data.objects],
    )


def busy() -> bool:
    job = sys.modules.get(f"{PACKAGE}.job")
    return job is not None and job.current is not None


def until_done(limit_s: float) -> Iterator[float]:
    started = time.monotonic()
    while busy():
        assert time.monotonic() - started < limit_s, "it takes too long"
        yield 0.1


def story() -> Iterator[float]:
    window, area, _ = view()
    scene = window.scene
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
    picture("1_tab")

    press("idiolect.add_head")
    yield from until_done(120)
    head = scene.idiolect.character
    assert head is not None and len(head.data.shape_keys.key_blocks) == 53
    space = area.spaces.active
    space.region_3d.view_perspective = "PERSP"
    space.region_3d.view_rotation = (0.716, 0.697, 0.03, 0.03)
    space.region_3d.view_distance, space.lens = 0.75, 85
    space.region_3d.view_location = (0.06, 0.0, 0.14)
    space.clip_start = 0.001
    space.overlay.show_floor = space.overlay.show_axis_x = space.overlay.show_axis_y = False
    head.select_set(False)
    head.idiolect.speech = long_speech
    yield 1.0
    picture("2_ready")

    before, turned = traces(), view_turned()
    press("idiolect.animate")
    assert busy()
    yield 2.0
    x, y = centre_of_view()
    hands("mousemove", x, y)
    yield 0.5
    hands("mousedown", 2)
    yield 0.5
    for step in range(1, 13):
        hands("mousemove", x + 14 * step, y + 2 * step)
        yield 0.2
    progress = sys.modules[f"{PACKAGE}.job"].current.describe()
    assert busy(), "it was done before the view had turned: use a longer speech"
    picture("3_progress")
    hands("mouseup", 2)
    yield 0.3
    assert view_turned() != turned, "the view did not turn"
    say(
        "while it said:",
        progress,
        "— longest gap between two timer ticks:",
        f"{longest_gap_s:.2f} s",
    )

    assert busy()
    hands("key", "Escape")
    pressed = time.monotonic()
    yield from until_done(15)
    say(f"Esc took {time.monotonic() - pressed:.1f} s")
    yield 0.5
    picture("4_cancelled")
    assert traces() == before, (traces(), before)

    head.idiolect.speech = speech
    space.region_3d.view_rotation = (0.716, 0.697, 0.03, 0.03)
    press("idiolect.animate")
    yield from until_done(120)
    action = head.data.shape_keys.animation_data.action
    assert action and "speech" in action.name
    jaw = max(range(5, 90), key=lambda frame: _value(head, "jawOpen", frame))
    scene.frame_set(jaw)
    yield 1.0
    picture("5_finished")

    hands("mousemove", *centre_of_view(), "key", "ctrl+z")
    yield 1.5
    head = bpy.context.window_manager.windows[0].scene.idiolect.character
    assert not bpy.data.actions, "one Ctrl-Z takes it all back"
    assert head is not None
    hands("key", "ctrl+shift+z")
    yield 1.5
    assert len(bpy.data.actions) == 1
    say("undone and redone by one key each")

    sys.modules[f"{PACKAGE}.worker.client"].close_client()
    bpy.ops.preferences.addon_show(module=PACKAGE)
    yield 2.0
    preferences = bpy.context.window_manager.windows[-1]
    assert preferences.parent == window
    picture("6_preferences")
    area = preferences.screen.areas[0]
    with bpy.context.temp_override(window=preferences, area=area):
        bpy.ops.idiolect.check_environment("INVOKE_DEFAULT", True)
        bpy.ops.wm.window_close()
    assert busy()
    yield from until_done(60)
    outcome = sys.modules[f"{PACKAGE}.job"].last_outcome
    assert outcome and outcome.message.startswith("The worker answers"), outcome
    say("a job outlives the Preferences in which it was started")

    head = bpy.data.objects["Head"]
    head.idiolect.speech = long_speech
    press("idiolect.animate")
    yield 1.0
    assert busy()
    window, _, _ = view()
    with bpy.context.temp_override(window=window):
        bpy.ops.wm.read_homefile(use_factory_startup=False)
    yield 1.0
    assert not busy(), "opening another file ends the job"
    assert not bpy.data.actions
    press("idiolect.add_head")
    yield from until_done(60)
    bpy.context.scene.idiolect.character.idiolect.speech = long_speech
    press("idiolect.animate")
    yield 1.0
    job = sys.modules[f"{PACKAGE}.job"]
    assert busy()
    bpy.ops.preferences.addon_disable(module=PACKAGE)
    assert job.current is None and not hasattr(bpy.types.Scene, "idiolect")
    yield 1.0
    say("opening a file ends a job, and so does switching the add-on off")


def _value(head: bpy.types.Object, key: str, frame: int) -> float:
    """Value of a key at a frame, from its curve."""
    keying = sys.modules[f"{PACKAGE}.keying"]
    action = head.data.shape_keys.animation_data.action
    return float(keying.sample_action(action, [key], [frame])[0, 0])


told = story()


def tick() -> float | None:
    """The timer's function; leaves by os._exit, so that Blender cannot swallow a failure."""
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


def measure() -> float:
    """Ticks a hundred times a second; a gap is time in which the interface was frozen."""
    global last_tick, longest_gap_s
    now = time.monotonic()
    if busy():
        if last_tick is not None:
            longest_gap_s = max(longest_gap_s, now - last_tick)
        last_tick = now
    else:
        last_tick = None
    return 0.01


bpy.app.timers.register(tick, first_interval=2.0, persistent=True)
bpy.app.timers.register(measure, first_interval=3.0, persistent=True)
