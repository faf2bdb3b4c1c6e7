"""Workers that misbehave, for the tests of the client: ``python fake_worker.py HOW``.

Each is a real process with real pipes; only what it says is made up.
"""

import json
import os
import subprocess
import sys
import threading
import time

HOW = sys.argv[1]
WRITE = threading.Lock()
CANCELLED = set()


def send(**message):
    with WRITE:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def stay_alive():
    while True:
        send(id=0, event="alive")
        time.sleep(0.1)


def job(request):
    for done in range(request["params"].get("steps", 20)):
        if request["id"] in CANCELLED and HOW != "deaf":
            error = {"code": "cancelled", "message": "Cancelled."}
            return send(id=request["id"], event="error", error=error)
        if HOW != "no-progress":
            send(id=request["id"], event="progress", stage="Working", done=done, total=20)
        time.sleep(request["params"].get("pause", 0.05))
    return send(id=request["id"], event="result", result={"echo": request["params"]})


def main():
    if HOW == "dies-at-start":
        sys.exit("ImportError: no such thing")
    if HOW == "mute":
        time.sleep(600)
    if HOW == "junk":
        for i in range(1000):
            print("Blender 3.6 quit", i)
        time.sleep(600)
    if HOW == "endless-line":
        while True:
            sys.stdout.write("x" * 65536)
    if HOW == "junk-and-exit":
        print("usage: python [options]")
        return
    if HOW == "some-junk":
        print("a library says hello\n{}\n[]\nnull\n" + '{"id": true, "event": "result"}\n' * 5)
    if HOW == "loud":
        # More than a pipe holds: without a reader of stderr this would stop for ever.
        sys.stderr.write("warning: something\n" * 20000)
    threading.Thread(target=stay_alive, daemon=True).start()
    for line in sys.stdin:
        request = json.loads(line)
        if request["method"] == "hello":
            if HOW == "late":
                time.sleep(1)
            if HOW == "never-ready":
                time.sleep(600)
            version = 99 if HOW == "other-version" else 1
            result = {"protocol": version, "pid": os.getpid(), "log_path": "/nowhere/worker.log"}
            send(id=request["id"], event="result", result=result)
        elif request["method"] == "cancel":
            CANCELLED.add(request["params"]["id"])
            send(id=request["id"], event="result", result={"cancelled": True})
        elif request["method"] == "die":
            sys.stderr.write("Fatal: the last words\n")
            sys.stderr.flush()
            os._exit(7)
        elif request["method"] == "grandchild":
            child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
            send(id=request["id"], event="result", result={"pid": child.pid})
        elif request["method"] == "wrong-id":
            send(id=12345, event="result", result={})
            send(id=request["id"], event="result", result={"right": True})
            send(id=request["id"], event="error", error={"message": "too late"})
        elif request["method"] != "shutdown":
            threading.Thread(target=job, args=(request,), daemon=True).start()


main()
