// SPDX-License-Identifier: GPL-3.0-or-later
//
// A Flamenco job type: a list of lines, spread over the workers of a farm.
// Put it into the folder "scripts" beside the Flamenco Manager. The list, the output folder and
// batch.py must be on storage that all workers see under the same path.
const JOB_TYPE = {
    label: "Idiolect: Animate from Speech",
    settings: [
        { key: "jobs", type: "string", subtype: "file_path", required: true,
          description: "List of lines, .csv or .jsonl" },
        { key: "out", type: "string", subtype: "dir_path", required: true,
          description: "Folder for the results" },
        { key: "batch", type: "string", subtype: "file_path", required: true,
          description: "Path of batch.py, inside the installed add-on or a checkout" },
        { key: "shards", type: "int32", default: 8,
          description: "Tasks that the list is divided into" },
        { key: "options", type: "string", default: "",
          description: "Further options of batch.py, as one would type them, without quotes" },
    ],
};

function compileJob(job) {
    const settings = job.settings;
    const further = settings.options.split(/\s+/).filter((word) => word.length > 0);
    for (let shard = 1; shard <= settings.shards; shard++) {
        const part = `${shard}/${settings.shards}`;
        const task = author.Task(`lines ${part}`, "blender");
        // A task that is given to another worker, or tried again, goes on where it was.
        task.addCommand(author.Command("exec", {
            exe: "{blender}",
            args: [
                "-b", "--python-exit-code", "1", "-P", settings.batch, "--",
                "--jobs", settings.jobs, "--out", settings.out, "--shard", part,
            ].concat(further),
        }));
        job.addTask(task);
    }
}
