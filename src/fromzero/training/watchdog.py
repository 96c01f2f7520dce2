"""A time limit for ranks: one that hangs would keep the others waiting, and nobody would know where."""

from __future__ import annotations

import faulthandler
from pathlib import Path
from typing import Any

from pytorch_lightning import Callback, LightningModule, Trainer


class Watchdog(Callback):
    """Writes the stacks of this process to `file` and ends it when no batch is finished for `limit` seconds.

    A thread of the interpreter itself counts, by the monotonic clock: it works in the middle of a collective,
    and while another thread holds the interpreter's lock. A validation batch, and the checkpoint with the
    step after it, have the limit each.
    """

    def __init__(self, limit: int, file: Path) -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        self.limit, self._file = limit, file.open("w")

    def _again(self, *_: Any, **__: Any) -> None:
        faulthandler.dump_traceback_later(self.limit, exit=True, file=self._file)

    setup = on_train_start = on_train_batch_end = _again
    on_validation_batch_end = on_validation_end = on_save_checkpoint = _again

    def teardown(self, trainer: Trainer, module: LightningModule, stage: str) -> None:
        faulthandler.cancel_dump_traceback_later()
        self._file.close()
