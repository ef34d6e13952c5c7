"""What is left on record of a training beside its model?"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from melspec_gpt.training.loop import TrainingLoop

SUMMARY_NAME = "training_summary.json"


def write_summary(loop: TrainingLoop, facts: dict[str, Any]) -> None:
    """Writes `training_summary.json` into the folder of a run: settings, what was done, the result, and `facts`."""
    summary = {
        "steps": loop.state.step,
        "epochs": loop.state.epochs,
        "seconds": round(loop.state.seconds, 1),
        "num_processes": loop.accelerator.num_processes,
        "device": loop.accelerator.device.type,
        "mixed_precision": loop.accelerator.mixed_precision,
        "parameters": sum(parameter.numel() for parameter in loop.unwrapped().parameters()),
        "validation": loop.final_validation,
        "best_step": loop.state.best_step,
        **facts,
        "arguments": loop.arguments.to_dict(),
    }
    path = Path(loop.arguments.output_dir) / SUMMARY_NAME
    # Programs take the file as the sign that the training is done: it is never half there.
    temporary = path.with_name(f"incomplete-{SUMMARY_NAME}")
    temporary.write_text(json.dumps(summary, indent=2) + "\n", encoding="utf-8")
    os.replace(temporary, path)
