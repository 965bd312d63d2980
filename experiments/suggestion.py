"""What a word that is not known may have meant."""

from collections.abc import Collection
from difflib import get_close_matches


def suggest(word: str, known: Collection[str]) -> str:
    """Words a suggestion: the known word that is nearest, or all of them."""
    near = get_close_matches(word, known, n=1)
    return f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}."
