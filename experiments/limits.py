"""Numbers that a user gives, and what they must not be."""

from collections.abc import Mapping


class Limited:
    """Settings that can say which of their numbers are out of bounds."""

    def below(self, least: int, *fields: str) -> list[str]:
        """Lists the numbers that are too small, a line each."""
        return [
            f"--{flag(name)} must be at least {least}, got {getattr(self, name)}."
            for name in fields
            if not getattr(self, name) >= least
        ]

    def not_positive(self, *fields: str) -> list[str]:
        """Lists the numbers that are not above 0, a line each."""
        return [
            f"--{flag(name)} must be positive, got {getattr(self, name)}."
            for name in fields
            if not getattr(self, name) > 0
        ]

    def not_seeds(self, *fields: str) -> list[str]:
        """Lists what should be seeds and is empty or has a negative one."""
        return [
            f"--{flag(name)} must be at least one, none negative."
            for name in fields
            if not min(getattr(self, name), default=-1) >= 0
        ]

    def not_momenta(self, *fields: str) -> list[str]:
        """Lists the numbers that are no momentum of a descent, a line each."""
        return [
            f"--{flag(name)} must be in [0, 1), got {getattr(self, name)}."
            for name in fields
            if not 0 <= getattr(self, name) < 1
        ]

    def outside(self, least: float, limits: Mapping[str, float]) -> list[str]:
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
