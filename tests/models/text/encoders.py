"""Encoders of texts with random weights, saved to folders by their own packages."""

from pathlib import Path

import numpy as np
import torch

from lib.models.workarounds import import_torchvision

WORDS = ["red", "blue", "kettle", "chair", "phone", "lamp", "table", "new", "##s", "[UNK]", "[PAD]"]
WIDTH = 16


def save_model2vec(folder: Path) -> Path:
    """Static vectors of a dozen words."""
    from model2vec import StaticModel

    vectors = np.random.default_rng(0).normal(size=(len(WORDS), WIDTH)).astype(np.float32)
    StaticModel(vectors, _tokenizer(), normalize=True).save_pretrained(folder)
    return folder


def save_transformer(folder: Path) -> Path:
    """A BERT of one small layer, whose tokens are averaged."""
    import_torchvision()
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    inner = folder / "bert"
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        BertModel(config).save_pretrained(inner)
    PreTrainedTokenizerFast(
        tokenizer_object=_tokenizer(), unk_token="[UNK]", pad_token="[PAD]", model_max_length=64
    ).save_pretrained(inner)
    network = Transformer(str(inner))
    SentenceTransformer(modules=[network, Pooling(WIDTH)], device="cpu").save(str(folder / "whole"))
    return folder / "whole"


def _tokenizer():
    from tokenizers import Tokenizer
    from tokenizers.models import WordPiece
    from tokenizers.normalizers import Lowercase
    from tokenizers.pre_tokenizers import Whitespace

    tokenizer = Tokenizer(WordPiece({w: i for i, w in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.normalizer, tokenizer.pre_tokenizer = Lowercase(), Whitespace()
    return tokenizer
