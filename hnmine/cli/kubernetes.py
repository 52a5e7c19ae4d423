"""The jobs of a run as a bash script that has kubectl create Kubernetes Jobs, one group after the other."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hnmine.cli.launch import filled
from hnmine.errors import UsageError
from hnmine.hashing import digest_json

if TYPE_CHECKING:
    from hnmine.cli.launch import Job, LaunchFlags

GRACE = 120
"""Seconds between SIGTERM and SIGKILL: time to finish a block."""
RETRIES = 3
"""Times that a task may fail of itself."""
HOPELESS = (2, 3, 4, 5)
"""Exit codes that the same command has again: wrong options, data, artefacts, packages."""

HEAD = r"""#!/usr/bin/env bash
# A run of hnmine as Kubernetes Jobs, written by `hnmine plan --launcher k8s`. Start them:  bash THIS_FILE
# It may be stopped and started again at any time: Jobs that are there are waited for. After a failure, or to do it
# anew: kubectl delete job -l app=hnmine,run=@ID@
set -euo pipefail

finished() {                      # NAME...: wait for the Jobs; end with 1 when one of them failed
  local name
  for name in "$@"; do
    until kubectl wait --for=condition=complete "job/$name" --timeout=20s >/dev/null 2>&1; do
      if [ "$(kubectl get "job/$name" -o 'jsonpath={.status.conditions[?(@.type=="Failed")].status}')" = True ]; then
        echo "$name failed: kubectl logs --prefix --tail=20 -l job-name=$name" >&2
        exit 1
      fi
    done
    echo "$name: done" >&2
  done
}
"""

JOB = """
kubectl apply -f - <<'YAML'
apiVersion: batch/v1
kind: Job
metadata:
  name: @NAME@
  labels: {app: hnmine, run: "@ID@"}
spec:
  completionMode: Indexed
  completions: @TASKS@
  parallelism: @TASKS@
  backoffLimitPerIndex: @RETRIES@
  podFailurePolicy:
    rules:
      - action: Ignore            # stopped after saving what was finished: again, as often as it takes
        onExitCodes: {containerName: hnmine, operator: In, values: [75]}
      - action: Ignore            # preempted, evicted, the node drained
        onPodConditions: [{type: DisruptionTarget, status: "True"}]
      - action: FailJob           # options, data, artefacts, packages: the same again
        onExitCodes: {containerName: hnmine, operator: In, values: @HOPELESS@}
  template:
    metadata:
      labels: {app: hnmine, run: "@ID@"}
    spec:
      restartPolicy: Never
      terminationGracePeriodSeconds: @GRACE@
      containers:
        - name: hnmine
          image: @IMAGE@
          workingDir: @PATH@
          command: @COMMAND@
          env:
            - {name: HNMINE_SHARD_COUNT, value: "@TASKS@"}
            - {name: HNMINE_CACHE, value: @CACHE@}
            - {name: OMP_NUM_THREADS, value: "@CPUS@"}
          resources:
            requests: {cpu: "@CPUS@", memory: @MEMORY@Gi}
            limits: {memory: @MEMORY@Gi@GPUS@}
          volumeMounts:
            - {name: data, mountPath: @PATH@}
      volumes:
        - name: data
          persistentVolumeClaim: {claimName: @CLAIM@}
YAML
"""


def script(jobs: Sequence[Job], command: Sequence[str], flags: LaunchFlags) -> str:
    """One file: the manifests, each group of them applied when what it needs is done."""
    claim, separator, path = (flags.volume or "").partition(":")
    if not flags.image or not (separator and claim and path.startswith("/")):
        raise UsageError(
            f"--launcher k8s: --image {flags.image}, --volume {flags.volume}",
            expected="--image with hnmine in it, and --volume CLAIM:/PATH with DATA and -o on it",
        )
    run = digest_json([list(command), flags.tasks])[:8]
    common = {
        "ID": run,
        "RETRIES": RETRIES,
        "HOPELESS": json.dumps(HOPELESS),
        "GRACE": GRACE,
        "IMAGE": json.dumps(flags.image),
        "PATH": json.dumps(path),
        "CACHE": json.dumps(f"{path.rstrip('/')}/.hnmine"),
        "CPUS": flags.cpus,
        "MEMORY": flags.memory,
        "CLAIM": json.dumps(claim),
    }
    parts = [filled(HEAD, common)]
    started: list[str] = []
    for job in jobs:
        if set(job.after) & set(started):
            parts.append(f"\nfinished {' '.join(_name(run, name) for name in started)}\n")
            started = []
        own = {
            "NAME": _name(run, job.name),
            "TASKS": job.tasks,
            "COMMAND": json.dumps([word.replace("$(", "$$(") for word in job.command], ensure_ascii=False),
            "GPUS": f", nvidia.com/gpu: {job.gpus}" if job.gpus else "",
        }
        parts.append(filled(JOB, {**common, **own}))
        started.append(job.name)
    return "".join([*parts, f"\nfinished {' '.join(_name(run, name) for name in started)}\n"])


def _name(run: str, job: str) -> str:
    return f"hnmine-{run}-{job}"
