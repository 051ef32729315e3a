"""Keeps the facts of a training run, and writes them and the model card beside each checkpoint."""

from pathlib import Path
from typing import Any

from transformers import PreTrainedModel, TrainerCallback, TrainerControl, TrainerState, TrainingArguments
from transformers.trainer_utils import PREFIX_CHECKPOINT_DIR

from emoicl.training.data.corpus import Corpus
from emoicl.training.publishing.cards import save_card
from emoicl.training.publishing.provenance import Provenance, describe_stage


class ModelCardCallback(TrainerCallback):
    """
    Writes `provenance.json` and the card `README.md` beside each checkpoint of a Trainer. Each [`EmoIclTrainer`] has
    one; give one to any other Trainer among its `callbacks`.

    Args:
        training ([`Corpus`]): Utterances of the training speakers.
        validation ([`Corpus`], *optional*): Those of the speakers that choose a checkpoint.
    """

    def __init__(self, training: Corpus, validation: Corpus | None = None):
        self.training = training
        self.validation = validation
        self.facts: Provenance | None = None

    def on_train_begin(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        *,
        model: PreTrainedModel,
        **kwargs: Any,
    ):
        if not state.is_world_process_zero:
            return
        # Trained twice, a model has both runs behind it.
        self.facts = self.facts or Provenance.of_model(model)
        self.stage = describe_stage(args, state, self.training, self.validation)
        self.stage["arguments"] |= describe_adapters(model)
        self.facts.stages.append(self.stage)
        self.is_resumed = state.global_step > 0

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        if self.facts is not None:
            self.stage["steps"] = state.global_step
            self.save(Path(str(args.output_dir)) / f"{PREFIX_CHECKPOINT_DIR}-{state.global_step}")

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any):
        if self.facts is None:
            return
        self.stage["steps"] = state.global_step
        if args.load_best_model_at_end and state.best_global_step:
            self.stage |= {"best_step": state.best_global_step, "best_metric": state.best_metric}
            self.stage["metric"] = args.metric_for_best_model
        # A resumed run knows the time of its last part alone.
        runtimes = [entry["train_runtime"] for entry in state.log_history if "train_runtime" in entry]
        if runtimes and not self.is_resumed:
            self.stage["minutes"] = round(runtimes[-1] / 60, 1)
        self.facts.save(str(args.output_dir))

    def save(self, folder: str | Path) -> None:
        """Writes the facts and the card into the folder of a checkpoint; nothing before training has begun."""
        if self.facts is None:
            return
        self.facts.save(folder)
        # Adapters are saved without the model that they belong to, a speech encoder that is tuned without a processor.
        if all((Path(folder) / name).is_file() for name in ("config.json", "processor_config.json")):
            save_card(folder)


def describe_adapters(model: PreTrainedModel) -> dict[str, Any]:
    """Rank and scale of the low-rank adapters that peft has put into a model; nothing of a model without."""
    for module in model.modules():
        for config in getattr(module, "peft_config", {}).values():
            return {"lora_r": config.r, "lora_alpha": config.lora_alpha}
    return {}
