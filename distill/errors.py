"""Every error that distillation raises; nothing here imports torch.

DistillError
 +-- TrainingRefused     options or data with which training makes no sense
 +-- TeacherRefused      a teacher's folder that is not whole, or not what it says it is
 +-- TransferRefused     options or inputs that give no transfer set
 +-- ContextRefused      options or pairs that give no graph of queries and products
 +-- LabelsRefused       a folder of labels that is not whole, or belongs to other pairs
 +-- RecipeRefused       a recipe that can't be followed, or a work folder that is not its own
"""


class DistillError(Exception):
    """Base of the errors below; its text is meant for the person who has to act."""


class TrainingRefused(DistillError):
    """Options or data with which training makes no sense; the text says what to change."""


class TeacherRefused(DistillError):
    """A teacher's folder is missing, damaged or foreign; the text names the file or the tensor."""


class TransferRefused(DistillError):
    """Options or inputs of a transfer set that can't be used; the text says what to change."""


class LabelsRefused(DistillError):
    """A folder of labels is incomplete, damaged, or of another transfer set or teacher."""


class RecipeRefused(DistillError):
    """A recipe can't be followed; the text names the key, what was expected and what came."""


class ContextRefused(DistillError):
    """Options or pairs from which no graph of queries and products can be made."""
