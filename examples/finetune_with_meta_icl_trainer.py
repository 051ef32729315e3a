"""Fine-tunes the bundled model with `MetaIclTrainer`, which draws the episodes and measures UA_spk of other speakers
as it trains. Run again after an interruption, it goes on at its last checkpoint. Under `accelerate launch`, several
devices share each batch."""

from transformers import pipeline
from transformers.trainer_utils import get_last_checkpoint

from emoicl import (
    TASK,
    Corpus,
    EmoIclForConditionalGeneration,
    EmoIclProcessor,
    MetaIclTrainer,
    MetaIclTrainingArguments,
    load_corpus,
)
from emoicl.bundled import BUNDLED_CLIPS, BURSTS_MODEL


model = EmoIclForConditionalGeneration.from_pretrained(BURSTS_MODEL)
processor = EmoIclProcessor.from_pretrained(BURSTS_MODEL)
utterances = load_corpus(BUNDLED_CLIPS).utterances  # Any table with the columns audio, emotion, speaker_id.
trainer = MetaIclTrainer(
    model=model,
    args=MetaIclTrainingArguments(
        "outputs/meta_icl", num_train_epochs=2, eval_strategy="epoch", save_strategy="epoch"
    ),
    train_dataset=Corpus(utterances[:126]),
    eval_dataset=Corpus(utterances[126:]),  # The last two speakers.
    processing_class=processor,
)
trainer.train(resume_from_checkpoint=get_last_checkpoint("outputs/meta_icl"))
trainer.save_model("outputs/meta_icl/model")

if trainer.is_world_process_zero():
    target, *shots = utterances[-8:]
    enrollment = [{"audio": shot.audio, "label": shot.label} for shot in shots]
    print(pipeline(TASK, model="outputs/meta_icl/model")(target.audio, enrollment=enrollment))
