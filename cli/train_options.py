"""The options of `winnow train` alone, in the order of its help; their defaults stand there."""

from pathlib import Path
from typing import Annotated, Literal

import typer

# Options that say something of one objective alone.
OF_OBJECTIVE = {
    "pointwise": ("hard_weight", "hard_column", "pairs_per_title", "in_blocks"),
    "pairwise": ("pair_loss", "margin", "least_gap", "random_negatives"),
    "listwise": ("list_size", "list_temperature", "pointwise_weight"),
}


# The student, and the pairs it learns from.
StudentKind = Annotated[
    str | None,
    typer.Option(help="bert2dnn, deepdot, reprbert, siamese, poly or listbert"),
]
Start = Annotated[
    Path | None, typer.Option(help="checkpoint to go on from, instead of a new student")
]
LabelFolders = Annotated[
    list[Path] | None,
    typer.Option(help="labels of --pairs in place of targets; several teachers: their mean"),
]
Temperature = Annotated[float, typer.Option(help="labels: divides the teachers' logits")]
Behaviour = Annotated[
    bool, typer.Option("--behaviour", help="labels: what was clicked or ordered has target 1")
]
MaxPairs = Annotated[int | None, typer.Option(help="only so many, from the start")]

# What it learns of them.
Objective = Annotated[
    Literal["pointwise", "pairwise", "listwise"],
    typer.Option(help="learn scores, which of two products is better, or a query's order"),
]
HardWeight = Annotated[
    float,
    typer.Option(help="weight of a human label beside the target; ReprBERT's is 0.5"),
]
HardColumn = Annotated[
    str | None,
    typer.Option(help="of the human label, may be empty; with --labels the target column"),
]
PairsPerTitle = Annotated[
    int, typer.Option(help="so many pairs of a title in one batch: it is encoded once")
]
InBlocks = Annotated[
    bool, typer.Option("--in-blocks", help="batches as pairs stand together in the transfer set")
]
PairLoss = Annotated[Literal["logistic", "margin"], typer.Option(help="pairwise")]
Margin = Annotated[float, typer.Option(help="pairwise, margin: in log odds")]
LeastGap = Annotated[
    float, typer.Option(help="pairwise: targets of a better and a worse product differ so far")
]
RandomNegatives = Annotated[
    bool,
    typer.Option(
        "--random-negatives/--no-random-negatives", help="pairwise: from the batch, beside them"
    ),
]
ListSize = Annotated[int, typer.Option(help="listwise: products of a list at most")]
ListTemperature = Annotated[float, typer.Option(help="listwise: of both softmaxes")]
PointwiseWeight = Annotated[float, typer.Option(help="listwise: weight of cross-entropy beside it")]

# How a new student is made.
EncoderName = Annotated[
    str | None,
    typer.Option(
        help="folder of a BERT-type checkpoint or a teacher, package:NAME of an installed one, or "
        "OWNER/NAME[@REVISION] on the hub; a bag takes its words with wordpiece"
    ),
]
Layers = Annotated[int, typer.Option(help="layers taken from the encoder")]
FromScratch = Annotated[
    bool, typer.Option("--from-scratch", help="the encoder's tokenizer and sizes, no weights of it")
]
Late = Annotated[
    bool, typer.Option("--late/--no-late", help="reprbert: interaction of the last layer")
]
Intermediate = Annotated[
    bool, typer.Option("--intermediate/--no-intermediate", help="reprbert: of the others")
]
Attention = Annotated[
    bool, typer.Option("--attention/--no-attention", help="reprbert: guided by [CLS]")
]
Pooling = Annotated[
    Literal["mean", "cls"], typer.Option(help="siamese, poly, listbert: of a text's states")
]
Codes = Annotated[int, typer.Option(help="poly: vectors of a query")]
TokenizerKind = Annotated[
    Literal["cwub", "wordpiece"],
    typer.Option(help="bert2dnn, deepdot: wordpiece takes that of --encoder, and its meanings"),
]
MinimumFrequency = Annotated[
    int, typer.Option(help="cwub: rarer tokens are left out of the vocabulary")
]
MaximumVocabulary = Annotated[
    int | None, typer.Option(help="cwub: only so many of the most frequent tokens")
]

# How it is trained.
Epochs = Annotated[int, typer.Option(help="at most so many")]
Patience = Annotated[int, typer.Option(help="validations without a better AUC")]
ValidateEvery = Annotated[int | None, typer.Option(help="steps; else at the end of each epoch")]
LearningRate = Annotated[
    float, typer.Option(help="of layers that start random; with --start, of all but encoders")
]
EncoderLearningRate = Annotated[float, typer.Option(help="of borrowed layers")]
WarmUp = Annotated[float, typer.Option(help="share of all steps in which rates rise")]
Schedule = Annotated[
    Literal["linear", "constant"], typer.Option(help="rates fall to 0 after it, or stay")
]
QueryTokens = Annotated[int | None, typer.Option(help="limit; else what 99 % of the queries need")]
ProductTokens = Annotated[int | None, typer.Option(help="limit; else what 99 % of the titles need")]
SaveMinutes = Annotated[
    float, typer.Option(help="between two states from which a stopped training goes on")
]
