"""The client against workers that hang, die, talk junk and answer late: no call waits for ever."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from idiolect_addon.worker import client, process
from idiolect_addon.worker.client import Limits, WorkerClient, WorkerSettings
from idiolect_addon.worker.protocol import WorkerError

FAKE = str(Path(__file__).with_name("fake_worker.py"))
posix_only = pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")


@pytest.fixture
def fake():
    """Makes a client of a fake worker, and leaves no process behind."""
    made = []

    def make(how, **limits):
        command = [sys.executable, "-I", FAKE, how]
        settings = WorkerSettings(Path(sys.executable))
        made.append(WorkerClient(settings, command=command, limits=Limits(**limits)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not (stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def wait_until(condition, seconds=5.0):
    end = time.monotonic() + seconds
    while not condition() and time.monotonic() < end:
        time.sleep(0.02)
    return condition()


def failure(call, within=10.0):
    """The error that a call ends with, well before any patience of the client runs out."""
    started = time.monotonic()
    with pytest.raises(WorkerError) as caught:
        call.wait(within)
    assert time.monotonic() - started < within
    assert caught.value.code != "timeout"
    return caught.value


def test_a_job_reports_progress_and_ends_in_its_result(fake):
    seen = []
    worker = fake("good")
    result = worker.request("job", {"text": "naïve ✓"}).wait(10, seen.append)
    assert result == {"echo": {"text": "naïve ✓"}}
    assert [p.stage for p in seen] == ["Working"] * len(seen) and len(seen) > 2
    assert worker.info["pid"] == worker.pid


def test_polling_never_blocks_and_one_process_serves_many_calls(fake):
    worker = fake("late")
    started = time.monotonic()
    calls = [worker.request("job", {"steps": 1, "n": n}) for n in range(20)]
    assert all(call.poll() is None for call in calls)
    assert time.monotonic() - started < 0.5
    pid = worker.pid
    assert [call.wait(10)["echo"]["n"] for call in calls] == list(range(20))
    assert worker.pid == pid


def test_a_cancelled_call_ends_so_and_the_worker_stays(fake):
    worker = fake("good")
    call, other = worker.request("job", {"steps": 200}), worker.request("job", {"steps": 2})
    worker.start().wait(10)
    call.cancel()
    assert failure(call).cancelled
    assert other.wait(10) and worker.running


def test_a_worker_deaf_to_cancel_is_ended_and_the_next_request_starts_another(fake):
    worker = fake("deaf", cancel_s=0.5)
    worker.start().wait(10)
    call, other = worker.request("job", {"steps": 2000}), worker.request("job", {"steps": 2000})
    call.cancel()
    pid = worker.pid
    assert failure(call).cancelled
    assert failure(other).code == "worker_hangs"
    assert wait_until(lambda: not is_running(pid))
    assert worker.request("job", {"steps": 1}).wait(10)
    assert worker.pid != pid


def test_death_fails_every_pending_call_at_once_with_the_last_words(fake):
    worker = fake("good")
    worker.start().wait(10)
    calls = [worker.request("job", {"steps": 2000}) for _ in range(3)]
    calls.append(worker.request("die"))
    for call in calls:
        error = failure(call, within=3)
        assert error.code == "worker_died" and "exit code 7" in error.message
        assert error.log_tail.endswith("Fatal: the last words")
        assert error.log_path == "/nowhere/worker.log" and error.hint
    assert not worker.running and worker.info is None
    assert worker.request("job", {"steps": 1}).wait(10), "restarts after a death"


@posix_only
def test_a_killed_worker_is_explained(fake):
    worker = fake("good")
    worker.start().wait(10)
    call = worker.request("job", {"steps": 2000})
    os.kill(worker.pid, signal.SIGKILL)
    assert "memory" in failure(call, within=3).message


def test_a_worker_that_does_not_start_says_what_it_wrote(fake):
    error = failure(fake("dies-at-start").request("job"))
    assert error.code == "worker_start" and "no such thing" in error.log_tail
    assert error.setting == "worker_python"


def test_an_interpreter_that_is_not_there():
    worker = WorkerClient(WorkerSettings(Path("/no/such/python")))
    with pytest.raises(WorkerError, match="cannot be started") as caught:
        worker.request("hello")
    assert caught.value.code == "no_python" and caught.value.setting == "worker_python"


@pytest.mark.parametrize("how", ["junk", "endless-line", "junk-and-exit"])
def test_a_program_that_is_no_worker_is_recognised(fake, how):
    error = failure(fake(how).request("job"))
    assert error.code == "worker_junk" and error.setting == "worker_python"


def test_a_little_junk_is_tolerated(fake):
    assert fake("some-junk").request("job", {"steps": 1}).wait(10)


def test_much_output_on_stderr_does_not_stop_the_worker(fake):
    assert fake("loud").request("job", {"steps": 1}).wait(10)


def test_answers_to_nobody_and_second_answers_are_ignored(fake):
    call = fake("good").request("wrong-id")
    assert call.wait(10) == {"right": True}
    time.sleep(0.2)
    assert call.poll() == {"right": True}


def test_another_protocol_version_is_refused(fake):
    worker = fake("other-version")
    call = worker.request("job")
    assert failure(call).code == "version_mismatch"
    assert not worker.running


@pytest.mark.parametrize(
    ("how", "limits"),
    [
        ("mute", {"silence_s": 0.5}),
        ("never-ready", {"start_s": 0.5}),
        ("no-progress", {"stall_s": 0.5}),
    ],
)
def test_a_hanging_worker_is_ended_with_an_error(fake, how, limits):
    worker = fake(how, **limits)
    call = worker.request("job", {"steps": 2000})
    pid = worker.pid
    error = failure(call)
    assert error.code == "worker_hangs" and "0.5 s" in error.message
    assert wait_until(lambda: not is_running(pid))


@posix_only
def test_a_stopped_process_counts_as_hanging_even_with_a_full_pipe(fake):
    worker = fake("good", silence_s=0.7)
    worker.start().wait(10)
    os.kill(worker.pid, signal.SIGSTOP)
    calls = [worker.request("job", {"text": "x" * 50_000, "steps": 1}) for _ in range(3)]
    # The write that filled the pipe was freed by the end of the stopped process; what came after
    # it went to a new one.
    assert [failure(call).code for call in calls[:2]] == ["worker_hangs"] * 2
    assert calls[2].wait(10)


def test_progress_holds_off_the_stall_limit(fake):
    assert fake("good", stall_s=0.5).request("job", {"steps": 20, "pause": 0.08}).wait(10)


@posix_only
@pytest.mark.parametrize("end", ["close", "die"])
def test_no_grandchild_stays(fake, end):
    worker = fake("good", close_s=0.5)
    pid = worker.request("grandchild").wait(10)["pid"]
    assert is_running(pid)
    if end == "close":
        worker.close()
    else:
        failure(worker.request("die"))
    assert wait_until(lambda: not is_running(pid))


def test_closing_fails_what_is_pending_and_is_quick(fake):
    worker = fake("good")
    worker.start().wait(10)
    call, pid = worker.request("job", {"steps": 2000}), worker.pid
    started = time.monotonic()
    worker.close()
    assert time.monotonic() - started < 5
    assert call.done and failure(call).cancelled
    assert not is_running(pid)


def test_a_call_waited_for_too_briefly_can_be_waited_for_again(fake):
    call = fake("late").request("job", {"steps": 1})
    with pytest.raises(WorkerError) as caught:
        call.wait(0.1)
    assert caught.value.code == "timeout"
    assert call.wait(10)


def test_the_child_inherits_nothing_that_blender_set_for_itself():
    env = process.clean_environment(
        {
            "PATH": "/bin",
            "PYTHONHOME": "/blender/4.2/python",
            "PYTHONPATH": "/x",
            "LD_LIBRARY_PATH": "/blender/lib",
            "BLENDER_USER_RESOURCES": "/y",
            "DYLD_LIBRARY_PATH": "/z",
            "__PYVENV_LAUNCHER__": "/w",
            "HTTPS_PROXY": "http://proxy",
        }
    )
    assert env == {"PATH": "/bin", "HTTPS_PROXY": "http://proxy"}


def test_offline_is_passed_on_to_the_hub(tmp_path):
    def environment(online):
        settings = WorkerSettings(Path(sys.executable), online=online)
        return WorkerClient(settings, environ={})._child_environment()

    assert environment(False)["HF_HUB_OFFLINE"] == "1"
    assert "HF_HUB_OFFLINE" not in environment(True)


def test_one_worker_per_process_and_a_new_one_for_new_settings():
    here = Path(sys.executable)
    try:
        first = client.get_client(WorkerSettings(here))
        assert client.get_client(WorkerSettings(here)) is first
        assert client.get_client(WorkerSettings(here, device="cpu")) is not first
    finally:
        client.close_client()


def test_the_child_ends_with_a_parent_that_just_exits(tmp_path):
    """Even without unregistering: atexit, and the end of the child's input."""
    script = tmp_path / "parent.py"
    script.write_text(
        "import sys, types\n"
        f"shell = types.ModuleType('a'); shell.__path__ = [{str(Path(FAKE).parents[3])!r}"
        " + '/blender_addon']; sys.modules['a'] = shell\n"
        "from pathlib import Path\n"
        "from a.worker.client import *\n"
        f"command = {[sys.executable, FAKE, 'good']!r}\n"
        "c = WorkerClient(WorkerSettings(Path(sys.executable)), command=command)\n"
        "c.start().wait(10); c.request('job', {'steps': 100000}); print(c.pid, flush=True)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert wait_until(lambda: not is_running(int(done.stdout)))
