"""Settings of models on the texts of products, and of encoders that embed texts"""

from dataclasses import dataclass
from typing import Annotated, Literal

from lib.config.setting import DistinctStrs, NonEmptyStr, Range, setting


@dataclass(frozen=True)
class Text:
    """A linear model on words and character n-grams of a product's texts, for `input = "text"`.

    The texts are those of `data.text_columns`, and the words in the pictures (`[ocr]`). Of the
    other settings of its model only `n_folds`, `seed` and `blend_weight` have an effect. It learns
    from no pseudo-labels.
    """

    columns: DistinctStrs = setting(
        (),
        'Columns of data.text_columns that it reads, and "ocr" for the words in the pictures; empty'
        " = all of data.text_columns.",
    )
    num_features: Annotated[int, Range(min=1024, max=1 << 24)] = setting(
        1 << 18, "Features that the n-grams are hashed to."
    )
    epochs: Annotated[int, Range(min=1, max=1000)] = setting(10, "Passes over the products.")
    lr: Annotated[float, Range(above=0, max=10)] = setting(0.5, "Learning rate of AdaGrad.")
    weights: Literal["auto", "full", "low_rank"] = setting(
        "auto",
        "One for each n-gram and class, or of low rank; auto: full up to 2^28 of them.",
    )
    rank: Annotated[int, Range(min=8, max=4096)] = setting(
        128, "Numbers of the vector of an n-gram, for weights of low rank."
    )


@dataclass(frozen=True)
class TextEncoder:
    """A pretrained network that embeds texts; `fusion.inputs` names it beside those of images.

    It is never trained. The columns are joined to one text; a product without any has zeros.
    """

    library: Literal["model2vec", "sentence_transformers"] = setting(
        "model2vec", "Package that reads the weights: static vectors of tokens, or a transformer."
    )
    weights: NonEmptyStr = setting(
        "minishlab/potion-base-8M", "Folder, or name on the Hugging Face hub."
    )
    columns: DistinctStrs = setting((), "Columns that it reads, as text.columns of a model.")
