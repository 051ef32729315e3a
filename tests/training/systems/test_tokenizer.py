import json

import pytest
from tiny import LABELS
from tiny_checkpoints import chat_tokenizer, unigram_tokenizer
from transformers import AutoTokenizer

from emoicl.processing.processing_emoicl import INSTRUCTION
from emoicl.training.systems.tokenizer import (
    SPECIAL_TOKENS,
    frame_prompts,
    load_tokenizer,
    spell_labels,
    train_tokenizer,
)


@pytest.fixture(scope="module")
def tokenizer():
    return train_tokenizer([INSTRUCTION, *LABELS])


@pytest.mark.parametrize(
    "label",
    ["Joy", "joy", "Surprise negative", "Mobi", "喜び", "Überraschung", "😀", "Don 't know ?", "a\u0301", " x "],
)
def test_any_label_word_is_read_back(tokenizer, label):
    ids = tokenizer(label, add_special_tokens=False)["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert tokenizer.decode(ids) == label
    assert tokenizer.batch_decode(
        [[tokenizer.pad_token_id, *ids, tokenizer.eos_token_id]], skip_special_tokens=True
    ) == [label]


def test_special_tokens(tokenizer):
    assert tokenizer.convert_tokens_to_ids(list(SPECIAL_TOKENS)) == [0, 1, 2, 3]
    assert (tokenizer.pad_token_id, tokenizer.eos_token_id, tokenizer.unk_token_id) == (0, 1, 2)
    assert tokenizer("<audio><audio>Joy<pad>")["input_ids"][:2] == [3, 3]
    assert tokenizer.audio_token == "<audio>"


def test_known_words_are_few_tokens(tokenizer):
    assert all(len(ids) <= 2 for ids in tokenizer(list(LABELS))["input_ids"])


def test_equal_texts_train_equal_tokenizers(tokenizer):
    assert train_tokenizer([INSTRUCTION, *LABELS]).get_vocab() == tokenizer.get_vocab()


def test_vocabulary_is_not_larger_than_asked_for():
    assert len(train_tokenizer([INSTRUCTION, *LABELS], vocab_size=270)) == 270


def test_saved_and_loaded(tokenizer, tmp_path):
    tokenizer.save_pretrained(tmp_path)
    loaded = type(tokenizer).from_pretrained(tmp_path)
    assert loaded.get_vocab() == tokenizer.get_vocab()
    assert loaded.audio_token == "<audio>"
    assert loaded.decode(loaded("喜び ?")["input_ids"]) == "喜び ?"


def test_reserved_tokens_are_saved_and_loaded(tmp_path):
    tokenizer = train_tokenizer([INSTRUCTION, *LABELS], vocab_size=300, num_open_labels=3)
    tokenizer.save_pretrained(tmp_path)
    for same in (tokenizer, AutoTokenizer.from_pretrained(tmp_path)):
        assert len(same) == 300
        assert same("<label_0>, <label_2>Joy<label_1>.")["input_ids"][0] == 4
        assert same.tokenize("Joy<label_2><label_1>")[-2:] == ["<label_2>", "<label_1>"]
        assert same.convert_tokens_to_ids([*SPECIAL_TOKENS, "<label_0>", "<label_1>", "<label_2>"]) == list(range(7))
        assert "<label_2>" in same.get_added_vocab() and "<label_3>" not in same.get_vocab()


def test_a_pretrained_tokenizer_gets_the_placeholder_and_keeps_its_own_tokens(tmp_path):
    pretrained = unigram_tokenizer(LABELS, ("<pad>", "</s>", "<unk>"))
    pretrained.add_special_tokens({"extra_special_tokens": ["<extra_id_0>"]})
    pretrained.save_pretrained(tmp_path)
    tokenizer = load_tokenizer(str(tmp_path))
    assert tokenizer.convert_tokens_to_ids("<audio>") == len(pretrained) == len(tokenizer) - 1
    assert tokenizer.tokenize("Joy<audio><audio>")[-2:] == ["<audio>", "<audio>"]
    ids = tokenizer.convert_tokens_to_ids(["<audio>", "<extra_id_0>"])
    assert tokenizer.decode(ids, skip_special_tokens=True) == ""
    assert spell_labels(tokenizer, ["Joy"]) == [[tokenizer.convert_tokens_to_ids("▁Joy"), 1]]


def test_a_tokenizer_without_an_end_is_refused(tmp_path):
    tokenizer = unigram_tokenizer(LABELS, ("<pad>", "</s>", "<unk>"))
    tokenizer.eos_token = tokenizer.pad_token = None
    tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"has no eos_token \(tokenizer_config.json\); a label needs one to end with"):
        load_tokenizer(str(tmp_path))


@pytest.mark.parametrize("value", ["x", [], {}])
def test_a_field_of_another_type_is_named(value, tmp_path):
    unigram_tokenizer(LABELS, ("<pad>", "</s>", "<unk>")).save_pretrained(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(config | {"model_max_length": value}))
    with pytest.raises(ValueError, match=r"tokenizer_config\.json.* cannot be used: TypeError"):
        load_tokenizer(str(tmp_path))


# As models have them: with a system prompt of their own, with a thought that is switched off, without a word that the
# assistant begins with, with nothing at all around what a user says, and for messages of parts.
TEMPLATES = {
    "{% if messages[0].role != 'system' %}<|im_start|>Be kind.<|im_end|>{% endif %}{% for message in messages %}"
    "<|im_start|>{{ message.content | trim }}<|im_end|>{% endfor %}{% if add_generation_prompt %}A:{% endif %}": (
        "<|im_start|>Be kind.<|im_end|><|im_start|>",
        "<|im_end|>A:",
    ),
    "{{ messages[0].content }}{% if enable_thinking is false %}<think></think>{% endif %}": ("", "<think></think>"),
    "{{ bos_token }}[INST] {{ messages[0].content }} [/INST]": ("<|im_start|>[INST] ", " [/INST]"),
    "{% for message in messages %}{{ message.content }}{% endfor %}": ("", "<|im_end|>"),
    "U:{% for part in messages[0].content %}{{ part.text }}{% endfor %}A:": ("U:", "A:"),
}


@pytest.mark.parametrize("template", TEMPLATES)
def test_a_chat_is_around_a_prompt(template):
    tokenizer = chat_tokenizer()
    tokenizer.chat_template = template
    assert frame_prompts(tokenizer) == TEMPLATES[template]
    tokenizer.chat_template = None
    assert frame_prompts(tokenizer) == ("<|im_start|>", "<|im_end|>")


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{{ messages[0].content }} I repeat: {{ messages[0].content }}", "it does not write once what the user says"),
        ("{{ raise_exception('A system prompt\nis needed') }}", "A system prompt is needed"),
        ("{{ messages[0].content }", "unexpected '}'"),
        ("{{ messages[7].content.text }}", ".*has no element 7"),
        ({"tool_use": "{{ messages[0].content }}"}, ".*no default"),
    ],
)
def test_a_chat_template_that_cannot_be_is_named(template, reason):
    tokenizer = chat_tokenizer()
    tokenizer.chat_template, tokenizer.name_or_path = template, "some/model"
    with pytest.raises(
        ValueError, match=f"^some/model: its chat template cannot frame a prompt: {reason}.*Correct it"
    ):
        frame_prompts(tokenizer)
