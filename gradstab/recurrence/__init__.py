"""Pure recurrences over time."""

from ._scan import scan as scan
