"""The worker's loop with a job of ours: what a job prints cannot break the line of messages."""

import sys
import textwrap
from pathlib import Path

import pytest
from idiolect_addon.worker.client import WorkerClient, WorkerSettings
from idiolect_addon.worker.protocol import WorkerError

WORKER = Path(__file__).parents[3] / "blender_addon" / "worker"

SCRIPT = f"""
    import importlib.util, os, subprocess, sys, time
    from pathlib import Path
    spec = importlib.util.spec_from_file_location("worker_main", {str(WORKER / "__main__.py")!r})
    main = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(main)
    requests, answers = main.startup.take_pipes()
    main.load_package("core", Path({str(WORKER.parents[1] / "core")!r}))
    log_path = main.startup.start_log(Path(sys.argv[1]))

    def handle(job):
        if job.method == "hello":
            return {{"protocol": 1, "log_path": log_path}}
        if job.method == "print":
            print("a library greets you")
            os.write(1, b"straight to descriptor 1\\n")
            subprocess.run([sys.executable, "-c", "print('a child prints')"])
            return {{"read": subprocess.run(["cat"], capture_output=True).stdout.decode()}}
        if job.method == "bug":
            return {{}}["no such key"]
        if job.method == "memory":
            raise MemoryError
        if job.method == "not-json":
            return {{"value": object()}}
        if job.method == "fast":
            for i in range(100_000):
                job.progress("Counting", i, 100_000)
            return {{}}

    worker = main.Worker(Path("."), device="cpu", threads=0, log_path=log_path)
    server = main.serving.Server(requests, answers)
    server.run(handle, worker.describe, idle_s=0, on_idle=lambda: None)
"""


@pytest.fixture
def client(tmp_path):
    command = [sys.executable, "-I", "-c", textwrap.dedent(SCRIPT), str(tmp_path)]
    one = WorkerClient(WorkerSettings(Path(sys.executable)), command=command)
    yield one
    one.close()


def failure(call):
    with pytest.raises(WorkerError) as caught:
        call.wait(20)
    return caught.value


def test_prints_go_to_the_log_and_children_find_an_empty_input(client):
    assert client.request("print").wait(20) == {"read": ""}
    assert client.request("print").wait(20) == {"read": ""}
    tail = "\n".join(client._life._tail)
    assert "greets you" in tail and "descriptor 1" in tail and "a child prints" in tail


def test_a_bug_is_an_error_with_its_traceback_in_the_log_only(client):
    error = failure(client.request("bug"))
    assert error.code == "internal" and "no such key" in error.message
    assert "Traceback" not in str(error) and error.hint
    log = Path(error.log_path).read_text()
    assert "Traceback" in log and "no such key" in log


def test_want_of_memory_has_a_remedy(client):
    error = failure(client.request("memory"))
    assert error.code == "out_of_memory" and error.hint


def test_a_result_that_cannot_be_written_down_is_an_error_too(client):
    assert failure(client.request("not-json")).code == "internal"
    assert client.request("print").wait(20)


def test_progress_does_not_flood_the_pipe(client):
    seen = []
    client.request("fast").wait(20, seen.append)
    assert len(seen) < 100


def test_logs_do_not_pile_up_and_a_worker_without_a_log_still_works(tmp_path):
    for i in range(20):
        (tmp_path / f"worker-20200101-0000{i:02}-1.log").touch()
    log = tmp_path / "file"
    log.touch()
    for folder, path in ((tmp_path, True), (log / "logs", False)):
        command = [sys.executable, "-I", "-c", textwrap.dedent(SCRIPT), str(folder)]
        one = WorkerClient(WorkerSettings(Path(sys.executable)), command=command)
        try:
            assert bool(one.start().wait(20)["log_path"]) == path
        finally:
            one.close()
    assert len(list(tmp_path.glob("worker-*.log"))) == 10
