"""Every error that export raises; nothing here imports torch.

ExportError
 +-- PairsRefused        a pairs file that can't be read as (query, title, target) rows
 +-- EncoderRefused      an encoder folder that is no BERT-type checkpoint
 +-- CheckpointRefused   a checkpoint folder that is not whole, or not what it says it is
 +-- ExportRefused       a graph that does not compute what its torch student computes
"""


class ExportError(Exception):
    """Base of the errors below; its text is meant for the person who has to act."""


class PairsRefused(ExportError):
    """A pairs file can't be read; the text names the file, the line, expected and got."""


class EncoderRefused(ExportError):
    """An encoder folder can't start a student; the text names the file that is missing or wrong."""


class CheckpointRefused(ExportError):
    """A checkpoint is missing, damaged or foreign; the text names the file or the tensor."""


class ExportRefused(ExportError):
    """A graph failed the gate; the text names the graph, expected and got. Nothing is published."""
