"""Jobs: steps that wait, are cancelled, fail, and find their data again."""

from __future__ import annotations

import threading

import bpy
import pytest
from scenes import speaking_mesh

from blender_addon.jobs import job
from blender_addon.worker.protocol import WorkerError

pytestmark = pytest.mark.usefixtures("scene")


def test_results_go_back_into_the_steps() -> None:
    def steps() -> job.Steps:
        one = yield job.Threaded(lambda progress, cancelled: 20)
        two = yield job.Threaded(lambda progress, cancelled: one + 1)
        return job.Outcome(f"{two}")

    assert job.Job("t", steps()).run().message == "21"


def test_cancelled_steps_tidy_up() -> None:
    tidied, may_end = [], threading.Event()

    def wait(progress, cancelled):
        progress("waiting", 1, 4)
        while not cancelled():
            may_end.wait(0.01)
        raise WorkerError("Cancelled.", code="cancelled")

    def steps() -> job.Steps:
        try:
            yield job.Threaded(wait)
        finally:
            tidied.append(True)
        return job.Outcome("not reached")

    running = job.Job("t", steps())
    while running.advance() is None and running.progress is None:
        pass
    assert running.describe() == "t: waiting 25%"
    running.cancel()
    with pytest.raises(WorkerError) as caught:
        running.run()
    assert caught.value.cancelled and tidied == [True]


def test_a_result_that_comes_after_the_cancel_is_not_used() -> None:
    used, may_end = [], threading.Event()

    def steps() -> job.Steps:
        yield job.Threaded(lambda progress, cancelled: may_end.wait(5))
        used.append(True)
        return job.Outcome("not reached")

    running = job.Job("t", steps())
    assert running.advance() is None
    running.cancel()
    may_end.set()
    with pytest.raises(WorkerError, match="Cancelled"):
        running.run()
    assert not used


def test_an_abandoned_job_ends_at_once_and_tidies_up() -> None:
    tidied, stuck = [], threading.Event()

    def steps() -> job.Steps:
        try:
            yield job.Threaded(lambda progress, cancelled: stuck.wait(30))
        finally:
            tidied.append(True)
        return job.Outcome("not reached")

    running = job.current = job.Job("t", steps())
    assert running.advance() is None
    assert job.busy_reason()
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)  # the artist opens a file
    assert job.current is None and tidied == [True]
    stuck.set()


def test_a_fault_in_a_thread_becomes_an_error_with_words() -> None:
    def steps() -> job.Steps:
        yield job.Threaded(lambda progress, cancelled: 1 / 0)
        return job.Outcome("not reached")

    with pytest.raises(WorkerError, match="ZeroDivisionError"):
        job.Job("t", steps()).run()


def test_data_is_found_by_identity_and_missed_in_words() -> None:
    hero = speaking_mesh()
    wanted = job.DataRef.to(hero)
    hero.name = "Renamed"
    speaking_mesh("Hero")  # somebody else takes the old name
    assert wanted.find().name == "Renamed"
    bpy.data.objects.remove(hero)
    with pytest.raises(WorkerError, match=r"Hero.*removed"):
        wanted.find()
