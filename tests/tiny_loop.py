"""A stage with a model so small that whole trainings of it take milliseconds."""

import torch
from accelerate.utils import set_seed

from melspec_gpt.configuration.configuration_mel_gpt import MelGPTConfig
from melspec_gpt.modeling.modeling_mel_gpt import MelGPTForCausalLM
from melspec_gpt.training.arguments import RunArguments
from melspec_gpt.training.loop import TrainingLoop
from melspec_gpt.training.optimization import build_adamw

NUM_CODES = 6
SENTENCES = torch.randint(8, (18, NUM_CODES), generator=torch.Generator().manual_seed(0))
DATA = [{"input_ids": sentence} for sentence in SENTENCES]


def tiny_model(dropout):
    config = MelGPTConfig(
        codebook_size=8,
        num_codes=NUM_CODES,
        hidden_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
        embedding_dropout=dropout,
        residual_dropout=dropout,
        attention_dropout=0.0,
    )
    return MelGPTForCausalLM(config)


class Recorder:
    """The functions of a stage, which note every loss; registered for checkpointing, it counts its steps."""

    def __init__(self, fail_at=None):
        self.losses = []
        self.count = 0
        self.fail_at = fail_at

    def training_step(self, loop, batch):
        if loop.state.step == self.fail_at:
            raise KeyboardInterrupt
        loss = loop.modules["model"](input_ids=batch["input_ids"], labels=batch["input_ids"]).loss
        self.count += loop.optimize(loss)
        self.losses.append(loss.item())
        return {"loss": loss}

    @staticmethod
    def evaluation_step(loop, batch):
        logits = loop.modules["model"](input_ids=batch["input_ids"]).logits[:, :-1]
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), batch["input_ids"][:, 1:], reduction="none")
        return {"loss": losses.mean(1)}

    def state_dict(self):
        return {"count": self.count}

    def load_state_dict(self, state):
        self.count = state["count"]


def make_loop(output_dir, recorder=None, dropout=0.0, validation=None, model=None, loop_options=None, **settings):
    settings = {
        "per_device_train_batch_size": 4,
        "learning_rate": 0.01,
        "logging_steps": 3,
        "eval_steps": 2,
        "checkpointing_steps": 0,
        "report_to": "none",
    } | settings
    arguments = RunArguments(dataset_path="", output_dir=str(output_dir), model_config="", **settings)
    set_seed(arguments.seed)
    model = tiny_model(dropout) if model is None else model
    recorder = Recorder() if recorder is None else recorder
    options = {
        "modules": {"model": model},
        "optimizers": {"model": build_adamw(model, arguments.learning_rate, arguments.weight_decay)},
        "training_step": recorder.training_step,
        "train_dataset": DATA,
        "evaluation_step": recorder.evaluation_step,
        "validation_dataset": validation,
    }
    return TrainingLoop(arguments, **(options | (loop_options or {})))


def weights(loop):
    return torch.cat([parameter.detach().flatten() for parameter in loop.unwrapped().parameters()])


def assert_same_head(one, other):
    # Adam blows up the rounding errors of gradients that are 0 in theory, such as those of the keys' biases.
    torch.testing.assert_close(one.lm_head.weight, other.lm_head.weight, atol=1e-6, rtol=1e-5)


def logged(output_dir, tag):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(output_dir / "logs"))
    events.Reload()
    return {event.step: event.value for event in events.Scalars(tag)}
