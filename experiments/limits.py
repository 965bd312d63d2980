"""Numbers that a user gives, and what they must not be."""

from collections.abc import Mapping


class Limited:
    """Settings that can say which of their numbers are out of bounds."""

    def below(self, least: int, *fields: str) -> list[str]:
        """Lists the numbers that are too small, a line each."""
        return [
            f"--{flag(name)} must be at least {least}, got {getattr(self, name)}."
            for name in fields
            if getattr(self, name) < least
        ]

    def outside(self, least: int, limits: Mapping[str, int]) -> list[str]:
        """Lists the numbers that are too small or too large, a line each."""
        return [
            f"--{flag(name)} must lie between {least} and {limit:,}, "
            f"got {getattr(self, name)}."
            for name, limit in limits.items()
            if not least <= getattr(self, name) <= limit
        ]


def flag(field: str) -> str:
    """Gives the name that a field has on the command line."""
    return field.replace("_", "-")
