import subprocess
import sys

import pytest

ASK = "from hnmine.stages.stage import peak_memory; print(peak_memory())"
LARGE = 400 * 2**20


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system knows no better")
def test_a_process_does_not_inherit_the_peak_of_the_one_that_started_it() -> None:
    parent = f"""
import subprocess, sys
held = b"x" * {LARGE}
subprocess.run([sys.executable, "-c", {ASK!r}], check=True, preexec_fn=lambda: None)  # by fork, not by vfork
{ASK.replace("print", "assert")} > {LARGE}
"""
    done = subprocess.run([sys.executable, "-c", parent], check=True, capture_output=True, text=True)
    assert 2**20 < int(done.stdout) < LARGE / 2


def test_what_a_process_holds_raises_its_peak() -> None:
    child = f"""
{ASK}
held = b"x" * {LARGE}
{ASK}
del held
{ASK}
"""
    done = subprocess.run([sys.executable, "-c", child], check=True, capture_output=True, text=True)
    before, while_held, after = map(int, done.stdout.split())
    assert while_held > before + 0.9 * LARGE
    assert after == pytest.approx(while_held, rel=0.05)
