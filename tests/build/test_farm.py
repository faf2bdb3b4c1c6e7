"""The farm examples: what they tell Blender to do is what batch.py understands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

FARM = Path(__file__).resolve().parents[2] / "docs" / "farm"


def test_a_flamenco_job_covers_the_list_once() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("there is no node to run the job type with")
    settings = {"jobs": "/s/j.csv", "out": "/s/out", "batch": "/s/batch.py", "shards": 3}
    settings["options"] = "  --formats npz "
    program = f"""
        const tasks = [];
        const author = {{
            Task: (name, type) => ({{
                name, type, commands: [], addCommand(c) {{ this.commands.push(c); }}
            }}),
            Command: (name, parameters) => ({{ name, parameters }}),
        }};
        {(FARM / "idiolect.js").read_text()}
        compileJob({{ settings: {json.dumps(settings)}, addTask: (t) => tasks.push(t) }});
        console.log(JSON.stringify([JOB_TYPE, tasks]));
    """
    run = subprocess.run([node, "-e", program], capture_output=True, text=True, check=True)
    job_type, tasks = json.loads(run.stdout)
    assert {setting["key"] for setting in job_type["settings"]} == set(settings)
    words = [task["commands"][0]["parameters"]["args"] for task in tasks]
    assert [line[line.index("--shard") + 1] for line in words] == ["1/3", "2/3", "3/3"]
    assert words[0][-2:] == ["--formats", "npz"]
    assert {task["commands"][0]["parameters"]["exe"] for task in tasks} == {"{blender}"}


def test_a_slurm_task_does_its_share(tmp_path) -> None:
    if shutil.which("bash") is None:
        pytest.skip("there is no bash")
    blender = tmp_path / "blender"
    blender.write_text('#!/bin/bash\nprintf "%s\\n" "$@"\n')
    blender.chmod(0o755)
    run = subprocess.run(
        ["bash", str(FARM / "idiolect.slurm"), "jobs.csv", "out dir", "--formats", "npz glb"],
        env={
            **os.environ,
            "BLENDER": str(blender),
            "BATCH": "b.py",
            "SLURM_ARRAY_TASK_ID": "2",
            "SLURM_ARRAY_TASK_COUNT": "8",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    said = run.stdout.splitlines()
    assert said[:6] == ["-b", "--python-exit-code", "1", "-P", "b.py", "--"]
    assert said[6:] == [
        *("--jobs", "jobs.csv", "--out", "out dir", "--shard", "2/8"),
        *("--formats", "npz glb"),
    ]
