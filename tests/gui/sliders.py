"""What run.py plays in Blender's window: style and emotion under an artist's hand.

The whole tab; Mix dragged with the mouse while playback runs; undo and redo; save, open again, drag
again. Where a slider lies is seen from two screenshots between which only its value has changed.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
import types
from collections.abc import Iterator
from pathlib import Path

import bpy

sys.path.insert(0, str(Path(__file__).parent))
import window
from window import (
    centre_of_view,
    hands,
    jaw_of,
    module,
    out,
    picture,
    press,
    say,
    shown,
    speech,
    until_done,
    view,
)

FRAMES = range(5, 90)


def settings() -> bpy.types.PropertyGroup:
    """The character's, found afresh: undo and loading make references stale."""
    return bpy.data.objects["Head"].idiolect


def jaw() -> list[float]:
    """The jaw of the character, as it is keyed now."""
    return jaw_of(bpy.data.objects["Head"], FRAMES)


def shown_at(mix: float) -> Iterator[float]:
    """Wait for an undo or a redo, and for what it brings about."""
    for _ in range(200):
        yield 0.05
        if settings().mix == mix:
            break
    assert settings().mix == mix, (settings().mix, mix)
    yield 0.5
    yield from shown()


def slider(name: str, low: float, high: float) -> Iterator[float]:
    """Find a slider. Its centre line on the screen goes to ``found``: left, right, y."""
    _, area, _ = view()
    region = next(region for region in area.regions if region.type == "UI")
    before, live = getattr(settings(), name), settings().live
    settings().live = False
    setattr(settings(), name, (low + high) / 2)
    area.tag_redraw()
    yield 2.0
    paths = []
    for number, value in enumerate((low, high)):
        setattr(settings(), name, value)
        area.tag_redraw()
        yield 1.5
        paths.append(str(Path(tempfile.gettempdir()) / f"slider{number}.png"))
        subprocess.run(["import", "-window", "root", paths[-1]], check=True, timeout=60)
    setattr(settings(), name, before)
    settings().live = live
    top = view()[0].height - region.y - region.height
    crop = f"{region.width}x{region.height}+{region.x}+{top}"
    compare = ["convert", *paths, "-compose", "difference", "-composite", "-crop", crop]
    compare += ["+repage", "-colorspace", "gray", "-threshold", "8%", "-trim"]
    compare += ["-format", "%w %h %X %Y", "info:"]
    told = subprocess.run(compare, check=True, capture_output=True, text=True).stdout
    width, height, left, down = (int(word.lstrip("+")) for word in told.split())
    assert width > 30 and height < 60, f"no slider {name}: {told}"
    found[:] = [region.x + left, region.x + left + width, top + down + height // 2]
    window.forget_tick()
    yield 0.3


found: list[int] = []


def drag(steps: int = 20) -> Iterator[float]:
    """Drag the slider that was found to the right, as slowly as a hand does."""
    left, _, y = found
    hands("mousemove", left + 10, y)
    yield 0.3
    hands("mousedown", 1)
    yield 0.1
    for _ in range(steps):
        hands("mousemove_relative", "--", 5, 0)  # Blender holds the pointer while it drags
        yield 0.1
    hands("mouseup", 1)
    yield 0.1


def story() -> Iterator[float]:
    main, area, _ = view()
    scene = main.scene
    yield from window.show_tab()
    yield from window.add_head()
    yield 0.5
    ours = settings()
    ours.speech = speech
    names = module("environment.models").own_styles()
    say("styles of the model:", names)
    ours.style_a.style, ours.style_b.style = names[0], names[-1]
    yield 1.0
    picture("s1_ready")
    press("idiolect.animate")
    yield from until_done(120)
    at_a = jaw()
    made = settings().made_of
    assert made, "a press from the panel is followed live"
    bpy.ops.ed.undo_push(message="a press")

    yield from slider("mix", 0.45, 0.95)
    settings().mix = 0.0
    yield from shown()
    assert jaw() == at_a
    own_time = time_in(module("jobs.live"))
    with bpy.context.temp_override(window=main, screen=main.screen, area=area):
        bpy.ops.screen.animation_play()
    yield 1.0
    window.watch(lambda: True)
    yield 4.0
    alone = window.longest_gap_s
    window.watch(lambda: True)
    first_frame = scene.frame_current
    yield from drag()
    during = window.longest_gap_s
    yield from shown()
    picture("s2_mix_dragged")
    assert main.screen.is_animation_playing
    assert scene.frame_current != first_frame, "playback stood still"
    say(f"Mix dragged while playback runs: longest gap between two timer ticks {during:.2f} s,")
    say(f"and {alone:.2f} s in playback alone; live updates took {max(own_time):.3f} s at most")
    with bpy.context.temp_override(window=main, screen=main.screen, area=area):
        bpy.ops.screen.animation_cancel(restore_frame=False)
    mixed, at_b = settings().mix, jaw()
    assert mixed > 0.2 and at_b != at_a, (mixed, module("jobs.live").problem)
    assert settings().made_of != made

    hands("mousemove", *centre_of_view(), "key", "ctrl+z")
    yield from shown_at(0.0)
    assert jaw() == at_a, "one Ctrl-Z takes back the slider and its keys"
    hands("key", "ctrl+shift+z")
    yield from shown_at(mixed)
    assert jaw() == at_b
    say("undo and redo bring back slider and keys together")

    for emotion, frame, intensity in (
        ("happiness", 10, 0.9),
        ("sadness", 55, 0.8),
        ("neutral", 95, 1.0),
    ):
        bpy.ops.idiolect.add_emotion(emotion=emotion, frame=frame, intensity=intensity)
    yield from shown()
    assert jaw() != at_b or module("jobs.live").problem is None
    yield 2.0
    picture("s3_emotions")
    sidebar = next(region for region in area.regions if region.type == "UI")
    timeline = next(a for a in main.screen.areas if a.type == "DOPESHEET_EDITOR")
    window.cut("s3_emotions", "tab", sidebar)
    window.cut("s3_emotions", "timeline", timeline)
    settings().emotion.source = "SLIDERS"
    for frame, value in ((1, 0.0), (40, 1.0), (90, 0.2)):
        settings().emotion.anger = value
        bpy.data.objects["Head"].keyframe_insert("idiolect.emotion.anger", frame=frame)
        bpy.data.objects["Head"].keyframe_insert("idiolect.emotion.surprise", frame=frame)
    for frame, value in ((1, 0.0), (60, 1.0)):
        settings().strength = value
        bpy.data.objects["Head"].keyframe_insert("idiolect.strength", frame=frame)
    main, area, _ = view()  # undo has made the old ones stale
    head = bpy.data.objects["Head"]
    bpy.context.view_layer.objects.active = head
    head.select_set(True)
    yield from shown()
    yield 1.0
    picture("s4_sliders")
    for editor, name in (("DOPESHEET", "s5_dope_sheet"), ("SEQUENCE_EDITOR", "s6_sequencer")):
        area.ui_type = editor
        if hasattr(main.workspace, "sequencer_scene"):
            main.workspace.sequencer_scene = main.scene
        yield 1.5
        region = next(region for region in area.regions if region.type == "WINDOW")
        with bpy.context.temp_override(window=main, area=area, region=region):
            if editor == "DOPESHEET":
                area.spaces.active.dopesheet.show_summary = False
                bpy.ops.anim.channels_expand(all=True)
                bpy.ops.action.view_all()
            else:
                bpy.ops.sequencer.view_all()
        yield 2.0
        picture(name)
    window.cut("s5_dope_sheet", "dope_sheet", area)
    window.cut("s6_sequencer", "sequencer", area)
    area.ui_type = "VIEW_3D"
    settings().emotion.source = "LIST"
    yield from shown()

    path = str(Path(out) / "artist.blend")
    before = stored()
    bpy.ops.wm.save_as_mainfile(filepath=path)
    bpy.ops.wm.open_mainfile(filepath=path, load_ui=True)
    yield 2.0
    assert stored() == before, (stored(), before)
    keyed = jaw()
    main, area, _ = view()
    next(r for r in area.regions if r.type == "UI").active_panel_category = "Idiolect"
    settings().style_b.style = names[1]
    yield from shown(60)
    yield from slider("mix", 0.2, 0.9)
    settings().mix = 0.0
    yield from shown()
    window.watch(lambda: module("jobs.live").busy())
    yield from drag()
    yield from shown()
    picture("s7_opened_again")
    assert settings().mix > 0.2 and jaw() != keyed, module("jobs.live").problem
    say("saved, opened again, dragged: all settings there and working")
    Path(path).unlink()


def time_in(live: types.ModuleType) -> list[float]:
    """Have each look of the live update timed: it holds the interface up for so long."""
    spent, tick = [0.0], live.tick

    def timed() -> float | None:
        began = time.monotonic()
        again = tick()
        spent.append(time.monotonic() - began)
        return again

    live.tick = timed
    return spent


def stored() -> dict[str, object]:
    """All of a character's settings."""

    def of(group: bpy.types.PropertyGroup) -> dict[str, object]:
        told: dict[str, object] = {}
        for prop in group.bl_rna.properties:
            if prop.identifier == "rna_type":
                continue
            value = getattr(group, prop.identifier)
            if prop.type == "COLLECTION":
                told[prop.identifier] = [of(item) for item in value]
            elif isinstance(value, bpy.types.PropertyGroup):
                told[prop.identifier] = of(value)
            else:
                told[prop.identifier] = str(value)
        return told

    return of(settings())


window.play(story)
