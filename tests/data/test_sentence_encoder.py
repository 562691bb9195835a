import pytest
import torch
import transformers

from mtl.data.sentence_encoder import sentence_encoder

WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "striped", "horse", "cat", "with"]
TEXTS = ["a striped horse", "cat", "a cat with a horse"]
SMALL = {"num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("bert")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(WORDS),
        hidden_size=8,
        max_position_embeddings=6,
        **SMALL,
        hidden_dropout_prob=0.5,
    )
    transformers.BertModel(config).save_pretrained(path)
    tokenizer().save_pretrained(path)
    return path


def tokenizer():
    return transformers.BertTokenizer({word: index for index, word in enumerate(WORDS)})


def states(folder, text):
    ids = [2, *(WORDS.index(word) for word in text.split()), 3]
    model = transformers.BertModel.from_pretrained(folder).eval()
    with torch.no_grad():
        return model(torch.tensor([ids])).last_hidden_state[0]


def test_a_text_is_the_mean_of_its_states_alone(folder):
    found = torch.from_numpy(sentence_encoder(str(folder), TEXTS[:2]))
    expected = torch.stack([states(folder, text).mean(0) for text in TEXTS[:2]])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_or_the_first_one(folder):
    found = torch.from_numpy(sentence_encoder(str(folder), TEXTS[:2], pool="first"))
    expected = torch.stack([states(folder, text)[0] for text in TEXTS[:2]])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-4)


def test_long_texts_are_cut_and_many_taken_in_turns(folder):
    found = sentence_encoder(str(folder), TEXTS * 12)
    assert found.shape == (36, 8)
    torch.testing.assert_close(found[:3], found[33:], atol=1e-5, rtol=1e-4)


def test_what_cannot_encode_is_named(folder, tmp_path):
    with pytest.raises(ValueError, match=r"pool 'max' is not known; choose one of mean, first"):
        sentence_encoder(str(folder), TEXTS, pool="max")
    with pytest.raises(ValueError, match="text 1 of 2 is empty"):
        sentence_encoder(str(folder), ["a", " "])
    with pytest.raises(FileNotFoundError, match="neither a folder here nor a model of"):
        sentence_encoder(str(tmp_path), TEXTS)
    both = transformers.T5Config(vocab_size=8, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2)
    transformers.T5Model(both).save_pretrained(tmp_path)
    tokenizer().save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a t5 model: give an encoder of text"):
        sentence_encoder(str(tmp_path), TEXTS)
