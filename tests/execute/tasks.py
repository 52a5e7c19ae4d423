"""Tasks that worker processes can import."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from hnmine.errors import InputError
from hnmine.execute.local import Block


@dataclass
class Task:
    """Writes a line a block into `log`; misbehaves at the blocks whose names say so."""

    log: Path
    loads: int = 0

    def __call__(self, block: Block) -> tuple[str, int, int]:
        self.loads += 1
        with open(self.log, "a", encoding="utf-8") as stream:
            stream.write(f"{block.name}\n")
        if "slow" in block.name:
            time.sleep(0.5)
        if "dies-once" in block.name and not (self.log.parent / "died").exists():
            (self.log.parent / "died").touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if "always-dies" in block.name:
            os.kill(os.getpid(), signal.SIGKILL)
        if "bad-input" in block.name:
            raise InputError("line 7 is bad", expected="a good one", remedy="mend it")
        if "bug" in block.name:
            raise ZeroDivisionError("a bug")
        if "unspeakable" in block.name:
            raise type("Local", (Exception,), {})("not to be pickled")
        return block.name, os.getpid(), self.loads
