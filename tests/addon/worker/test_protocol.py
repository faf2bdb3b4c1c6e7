"""Messages survive the trip, and what is no message is told apart."""

import json

import pytest
from idiolect_addon.worker import protocol
from idiolect_addon.worker.protocol import WorkerError

MESSAGES = [
    protocol.Progress(3, "Décodage…", 2, 10),
    protocol.Result(4, {"output": "C:\\Ünï\\out.npz", "seconds": 0.25, "styles": ["a", "b"]}),
    protocol.Alive(),
]


@pytest.mark.parametrize("message", MESSAGES, ids=lambda m: type(m).__name__)
def test_answers_round_trip(message):
    line = message.to_line()
    assert line.isascii() and line.endswith(b"\n") and line.count(b"\n") == 1
    assert protocol.parse_answer(line) == message


def test_requests_round_trip_even_with_file_names_that_are_not_utf8():
    name = b"/tmp/caf\xe9.wav".decode("utf-8", "surrogateescape")
    request = protocol.Request(9, "animate", {"speech": name, "fps": 29.97})
    assert protocol.parse_request(request.to_line()) == request


def test_errors_round_trip_with_every_field():
    error = WorkerError(
        "No speech.", hint="Speak.", code="silent", setting="speech", log_path="/l", log_tail="a\nb"
    )
    back = protocol.parse_answer(protocol.Failure(1, error).to_line())
    assert isinstance(back, protocol.Failure)
    assert back.error.to_dict() == error.to_dict()
    assert str(back.error) == "No speech. Speak."


def test_an_error_from_a_stranger_still_has_a_message():
    assert WorkerError.from_dict({"message": None, "code": 5}).message
    assert WorkerError.from_dict({}).code == "error"


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"Blender 4.2 quit\n",
        b"{}",
        b"[1]",
        b"null",
        b'{"id": 1}',
        b'{"id": true, "event": "result", "result": {}}',
        b'{"id": 1, "event": "result", "result": 5}',
        b'{"id": 1, "event": "error", "error": "x"}',
        b'{"id": 1, "event": "progress", "stage": "x", "done": "1", "total": 2}',
        b'{"id": -1, "event": "result", "result": {}}',
        b"\xff\xfe\x00",
        b"[" * 100_000,
    ],
)
def test_junk_is_refused_not_raised_through(line):
    with pytest.raises(protocol.JunkError):
        protocol.parse_answer(line)
    with pytest.raises(protocol.JunkError):
        protocol.parse_request(line)


def test_a_message_with_a_value_that_is_no_number_is_never_sent():
    with pytest.raises(ValueError):
        protocol.Result(1, {"seconds": float("nan")}).to_line()


def test_fraction_is_always_between_nought_and_one():
    assert protocol.Progress(1, "x", 5, 10).fraction == 0.5
    assert protocol.Progress(1, "x", 50, 10).fraction == 1.0
    assert protocol.Progress(1, "x", 5, 0).fraction == 0.0


def test_every_message_is_plain_json():
    for message in MESSAGES:
        assert json.loads(message.to_line())["id"] >= 0
