"""What run.py plays in Blender's window: a job that is watched, cancelled, undone, outlived."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
import window
from window import (
    PACKAGE,
    busy,
    centre_of_view,
    hands,
    long_speech,
    picture,
    press,
    say,
    speech,
    until_done,
    view,
    view_turned,
)


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


def story() -> Iterator[float]:
    main, area, _ = view()
    scene = main.scene
    yield from window.show_tab()
    picture("1_tab")

    yield from window.add_head()
    head = scene.idiolect.character
    assert head is not None and len(head.data.shape_keys.key_blocks) == 53
    space = area.spaces.active
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
    progress = sys.modules[f"{PACKAGE}.jobs.job"].current.describe()
    assert busy(), "it was done before the view had turned: use a longer speech"
    picture("3_progress")
    hands("mouseup", 2)
    yield 0.3
    assert view_turned() != turned, "the view did not turn"
    say(
        "while it said:",
        progress,
        "— longest gap between two timer ticks:",
        f"{window.longest_gap_s:.2f} s",
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
    opened = window.jaw_of(head, range(5, 90))
    scene.frame_set(5 + opened.index(max(opened)))
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
    assert preferences.parent == main
    picture("6_preferences")
    area = preferences.screen.areas[0]
    with bpy.context.temp_override(window=preferences, area=area):
        bpy.ops.idiolect.check_environment("INVOKE_DEFAULT", True)
        bpy.ops.wm.window_close()
    assert busy()
    yield from until_done(60)
    outcome = sys.modules[f"{PACKAGE}.jobs.job"].last_outcome
    assert outcome and outcome.message.startswith("The worker answers"), outcome
    say("a job outlives the Preferences in which it was started")

    head = bpy.data.objects["Head"]
    head.idiolect.speech = long_speech
    press("idiolect.animate")
    yield 1.0
    assert busy()
    main, _, _ = view()
    with bpy.context.temp_override(window=main):
        bpy.ops.wm.read_homefile(use_factory_startup=False)
    yield 1.0
    assert not busy(), "opening another file ends the job"
    assert not bpy.data.actions
    press("idiolect.add_head")
    yield from until_done(60)
    bpy.context.scene.idiolect.character.idiolect.speech = long_speech
    press("idiolect.animate")
    yield 1.0
    job = sys.modules[f"{PACKAGE}.jobs.job"]
    assert busy()
    bpy.ops.preferences.addon_disable(module=PACKAGE)
    assert job.current is None and not hasattr(bpy.types.Scene, "idiolect")
    yield 1.0
    say("opening a file ends a job, and so does switching the add-on off")


window.play(story)
