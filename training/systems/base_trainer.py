"""What the trainers of this package share."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Protocol, cast

import numpy as np
import torch
from torch.utils.data import DataLoader
from transformers import EvalPrediction, PreTrainedModel, Trainer, TrainerCallback, TrainerState, TrainingArguments
from transformers.trainer_utils import EvalLoopOutput

from emoicl.modeling.modeling_emoicl import IGNORED
from emoicl.training.data.corpus import Corpus, CorpusLike, load_corpus
from emoicl.training.evaluation.evaluate import check_labels, evaluate
from emoicl.training.evaluation.recognition import Recognizer
from emoicl.training.evaluation.reports import EvaluationReport
from emoicl.training.publishing.card_callback import ModelCardCallback
from emoicl.training.systems.base_config import EmoIclTrainingArguments, ShotsEvaluationArguments
from emoicl.training.systems.checkpoints import ResumableTrainer
from emoicl.training.systems.sharding import whole_weights, without_hooks


class DrawnAnew(Protocol):
    """Items that are drawn anew each epoch."""

    def set_epoch(self, epoch: int) -> None: ...


class EpochCallback(TrainerCallback):
    """Tells the items which epoch begins: the data loader itself does not where it resumes within an epoch, or in
    several processes (accelerate 1.15)."""

    def __init__(self, items: DrawnAnew):
        self.items = items

    def on_epoch_begin(self, args, state: TrainerState, control, **kwargs):
        self.items.set_epoch(int(state.epoch or 0))


class EmoIclTrainer(ResumableTrainer):
    r"""
    A Trainer that draws its items from a corpus, and is judged by the speakers of others.

    `evaluate` gives `eval_ua_spk` and `eval_loss`, the mean over numbers of shots of UA_spk and of the negative
    log-likelihood of the right label, and each as `eval_ua_spk_3_shot`. With a dictionary of evaluation corpora the
    names are `eval_<corpus>_ua_spk`, and so on. `predict` gives the scores of the largest number of shots.

    `compute_metrics` is called for each number of shots, with an `EvalPrediction` of `predictions`, the probabilities
    of the labels, float32 of shape `(num_utterances, num_labels)`, and `label_ids`, the column of each right label, of
    shape `(num_utterances,)`. The numbers that it returns are averaged and named likewise.

    A subclass makes the items and their collator, and what is evaluated: [`EmoIclTrainer.recognizer`].

    Several processes (`accelerate launch`) share each batch and each evaluation, with the losses and the metrics of
    one process with a batch as large.

    Args:
        model (`PreTrainedModel`): The model.
        args ([`EmoIclTrainingArguments`]): How to train.
        train_dataset ([`Corpus`]): Utterances of the training speakers.
        items ([`DrawnAnew`]): The training items that are drawn from it.
        eval_dataset ([`Corpus`] or what [`load_corpus`] reads, or a `dict` of them, *optional*):
            Utterances of other speakers.
        column_names (`Mapping[str, str]`, *optional*): What the columns are called, see [`load_corpus`].
        **kwargs: Further arguments of [`~transformers.Trainer`].

    Raises:
        `ValueError`: If `metric_for_best_model` is of none of several evaluation corpora.
    """

    args: EmoIclTrainingArguments

    def __init__(
        self,
        model: PreTrainedModel,
        args: EmoIclTrainingArguments,
        train_dataset: Corpus,
        items: Any,
        eval_dataset: CorpusLike | dict[str, CorpusLike] | None = None,
        column_names: Mapping[str, str] | None = None,
        **kwargs: Any,
    ):
        self.column_names = column_names
        if isinstance(eval_dataset, dict):
            parts = cast(dict[str, CorpusLike], eval_dataset)
            _check_best_metric(args.metric_for_best_model, list(parts))
            corpora = {name: load_part(f"eval_dataset[{name!r}]", part, column_names) for name, part in parts.items()}
            # An utterance may be in several of them.
            clips = {(u.audio_sha256, u.label, u.speaker_id): u for corpus in corpora.values() for u in corpus}
            evaluated, validation = corpora, Corpus(clips.values())
        else:
            validation = None if eval_dataset is None else load_part("eval_dataset", eval_dataset, column_names)
            evaluated = validation
        kwargs.setdefault("compute_loss_func", self.mean_loss)
        super().__init__(model=model, args=args, train_dataset=items, eval_dataset=cast(Any, evaluated), **kwargs)
        if validation is not None:
            # Now, and not at the first evaluation, hours later perhaps.
            with naming("eval_dataset"):
                check_labels(validation, self.recognizer().candidate_labels)
        self.add_callback(EpochCallback(items))
        # Tokens of the prompts since the last line of the log, those that are no padding, and all.
        self._tokens: Any = [0, 0]
        self.card = ModelCardCallback(train_dataset, validation)
        self.add_callback(self.card)

    @staticmethod
    def get_optimizer_cls_and_kwargs(args: TrainingArguments, model: PreTrainedModel | None = None) -> tuple[Any, Any]:
        """RAdam with decoupled weight decay, unless `args` ask for another optimizer."""
        if not getattr(args, "radam", False):
            return Trainer.get_optimizer_cls_and_kwargs(args, model)
        coefficients = {"betas": (args.adam_beta1, args.adam_beta2), "eps": args.adam_epsilon}
        return torch.optim.RAdam, {"lr": args.learning_rate, "decoupled_weight_decay": True, **coefficients}

    def mean_loss(
        self,
        outputs: Mapping[str, torch.Tensor],
        labels: torch.Tensor,
        num_items_in_batch: torch.Tensor | int | None = None,
    ) -> torch.Tensor:
        """[`mean_loss`] with the label smoothing of the arguments."""
        return mean_loss(outputs, labels, num_items_in_batch, self.args.label_smoothing_factor)

    def training_step(self, model: torch.nn.Module, inputs: dict[str, Any], *args: Any, **kwargs: Any) -> torch.Tensor:
        mask = inputs.get("attention_mask")
        if mask is not None:
            useful, computed = self._tokens
            self._tokens = [useful + mask.sum(), computed + mask.numel()]
        return super().training_step(model, inputs, *args, **kwargs)

    def log(self, logs: dict[str, float], start_time: float | None = None) -> None:
        """Logs `useful_tokens` beside the loss: the share of the prompts' tokens that are no padding."""
        useful, computed = self._tokens
        if "loss" in logs and computed:
            logs["useful_tokens"] = round(float(useful / computed), 4)
            self._tokens = [0, 0]
        super().log(logs, start_time)

    def recognizer(self) -> Recognizer:
        """The model as it is now, for an evaluation."""
        raise NotImplementedError

    def report_on(self, corpus: Corpus) -> EvaluationReport:
        """Scores each utterance of a corpus with an enrollment of `args.eval_setting`, at `args.eval_shots` each."""
        args = cast(ShotsEvaluationArguments, self.args)
        return evaluate(
            self.recognizer(),
            corpus,
            args.eval_shots,
            args.eval_setting,
            seeds=[0],
            controls=[],
            label=args.eval_label,
        )

    def evaluation_loop(
        self,
        dataloader: DataLoader,
        description: str,
        prediction_loss_only: bool | None = None,
        ignore_keys: list[str] | None = None,
        metric_key_prefix: str = "eval",
    ) -> EvalLoopOutput:
        """
        What [`~transformers.Trainer.evaluate`] and [`~transformers.Trainer.predict`] do with a corpus.

        Args:
            dataloader (`DataLoader`): Its dataset is the corpus; enrollments need all of it at once.
            description (`str`): Unused, as are `prediction_loss_only` and `ignore_keys`: parts of the interface.
            metric_key_prefix (`str`, *optional*, defaults to `"eval"`): Put before the names of the metrics.

        Raises:
            `ValueError`: If the dataset is no [`Corpus`], nor can be read as one.
        """
        corpus = load_corpus(cast(Any, dataloader.dataset), column_names=self.column_names)
        with whole_weights(cast(Any, self.model)):
            report = self.report_on(corpus)
        numbers = sorted({condition.shots for condition in report.conditions})
        measured = {shots: self._measure(report, shots) for shots in numbers}
        metrics = {
            f"{metric_key_prefix}_{name}_{shots}_shot": value
            for shots, of_shots in measured.items()
            for name, value in of_shots.items()
        }
        for name in measured[numbers[0]]:
            mean = float(np.mean([of_shots[name] for of_shots in measured.values()]))
            metrics[f"{metric_key_prefix}_{name}"] = mean
        return EvalLoopOutput(*report.answers(numbers[-1]), metrics, len(corpus))

    def _measure(self, report: EvaluationReport, shots: int) -> dict[str, float]:
        metrics = {"ua_spk": report.accuracy(shots).ua_spk, "loss": report.label_scores(shots)["nll"]}
        if self.compute_metrics is not None:
            metrics |= self.compute_metrics(EvalPrediction(*report.answers(shots)))
        return metrics

    def save_model(self, output_dir: str | None = None, _internal_call: bool = False) -> None:
        """Saves the model, what processes its inputs, the provenance of its training and its card."""
        super().save_model(output_dir, _internal_call)
        # The callback writes beside a checkpoint.
        if not _internal_call:
            self.card.save(str(output_dir or self.args.output_dir))

    def create_model_card(self, *args: Any, **kwargs: Any) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Writes the card into `output_dir`, as `push_to_hub` asks."""
        self.card.save(str(self.args.output_dir))


def mean_loss(
    outputs: Mapping[str, torch.Tensor],
    labels: torch.Tensor,
    num_items_in_batch: torch.Tensor | int | None = None,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Cross entropy with label smoothing, summed over the labels of a batch, of which the optimizer's step has
    `num_items_in_batch`: their number differs, so that a mean of means would depend on how it is accumulated, and on
    how many processes there are.
    """
    loss = torch.nn.functional.cross_entropy(
        outputs["logits"].flatten(0, -2).float(),
        labels.flatten(),
        ignore_index=IGNORED,
        label_smoothing=label_smoothing,
        reduction="sum",
    )
    return loss / ((labels != IGNORED).sum() if num_items_in_batch is None else num_items_in_batch)


def load_part(argument: str, source: CorpusLike, column_names: Mapping[str, str] | None) -> Corpus:
    """
    [`load_corpus`] for an argument of a trainer, which is named where it cannot be read.

    Args:
        argument (`str`): What the argument is called.
        source ([`Corpus`] or what [`load_corpus`] reads): What it is.
        column_names (`Mapping[str, str]`, *optional*): What its columns are called.
    """
    with naming(argument):
        return load_corpus(source, column_names=column_names)


@contextmanager
def naming(argument: str) -> Iterator[None]:
    """Has what is said of a corpus name the argument that it came by."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{argument}: {error}") from error


def as_forward(model: torch.nn.Module, module: torch.nn.Module, function: Callable[..., Any]) -> Callable[..., Any]:
    """
    A function of a model's parts that is called by way of the model's forward pass: what shares gradients among
    processes (DDP) or gathers weights (FSDP) does so around that.

    Args:
        model (`torch.nn.Module`): The model as a Trainer hands it over, perhaps wrapped.
        module (`torch.nn.Module`): The model itself.
        function (`Callable`): What is called in place of its `forward`, within which `forward` is as always.

    Returns:
        `Callable`
    """

    def call(**inputs: Any) -> Any:
        # Mixed precision has put one there.
        own = vars(module).get("forward")

        def restore() -> None:
            vars(module).pop("forward", None)
            if own is not None:
                module.forward = own

        def forward(**inputs: Any) -> Any:
            restore()
            # It is gathered already, and `function` may call it within.
            with without_hooks([module]):
                return function(**inputs)

        module.forward = forward
        try:
            return model(**inputs)
        finally:
            restore()

    return call


def _check_best_metric(metric: str | None, corpora: list[str]) -> None:
    """With several evaluation corpora, a metric is of one of them."""
    if metric is None or metric.removeprefix("eval_").startswith(tuple(f"{name}_" for name in corpora)):
        return
    choices = ", ".join(f"eval_{name}_ua_spk" for name in corpora)
    raise ValueError(f"`metric_for_best_model` is {metric!r}; with several evaluation corpora, choose from {choices}.")
