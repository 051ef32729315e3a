"""What is said beside an answer about how far it may be trusted."""

from emoicl.modeling.familiarity_emoicl import UNFAMILIAR


def note_on(familiarity: float | None) -> str:
    """
    What to say of a recording that sounds unlike those that the model was trained on, or nothing.

    Args:
        familiarity (`float`, *optional*): As the pipeline tells it with `return_familiarity`.
    """
    if familiarity is None or familiarity >= UNFAMILIAR:
        return ""
    return f"Sounds unlike what the model was trained on (familiarity {familiarity:.3f}): expect more mistakes."
