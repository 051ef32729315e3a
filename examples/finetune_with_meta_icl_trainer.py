"""Fine-tunes the bundled model `speech`, which learned from sentences, on vocal bursts, with `MetaIclTrainer`,
which draws the episodes and measures UA_spk of two people whom the model never heard as it trains. Run again after
an interruption, it goes on at its last checkpoint. Under `accelerate launch`, several devices share each batch."""

from transformers.trainer_utils import get_last_checkpoint

from emoicl import (
    Corpus,
    EmoIclForConditionalGeneration,
    EmoIclProcessor,
    MetaIclTrainer,
    MetaIclTrainingArguments,
    load_corpus,
)
from emoicl.bundled import BUNDLED_CLIPS, SPEECH_MODEL


model = EmoIclForConditionalGeneration.from_pretrained(SPEECH_MODEL)
processor = EmoIclProcessor.from_pretrained(SPEECH_MODEL)
utterances = load_corpus(BUNDLED_CLIPS).utterances  # Any table with the columns audio, emotion, speaker_id.
trainer = MetaIclTrainer(
    model=model,
    args=MetaIclTrainingArguments(
        "outputs/meta_icl",
        num_train_epochs=8,
        per_device_train_batch_size=16,
        learning_rate=1e-3,
        adaptation_learning_rate=3e-3,  # The speaker adaptation has few weights, and can take large steps.
        eval_strategy="epoch",
        save_strategy="epoch",
        logging_strategy="epoch",
    ),
    train_dataset=Corpus(utterances[:126]),  # Six people.
    eval_dataset=Corpus(utterances[126:]),  # Two others.
    processing_class=processor,
)
before = trainer.evaluate()
trainer.train(resume_from_checkpoint=get_last_checkpoint("outputs/meta_icl"))
after = trainer.evaluate()
trainer.save_model("outputs/meta_icl/model")

if trainer.is_world_process_zero():
    print({name: {"before": before[name], "after": after[name]} for name in ("eval_ua_spk", "eval_loss")})
