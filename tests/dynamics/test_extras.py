import sys

import pytest

from gradstab.dynamics._extras import extra


def test_names_the_extra_that_a_module_is_of(monkeypatch):
    assert extra("diffrax").__name__ == "diffrax"
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ModuleNotFoundError, match=r"needs matplotlib, .*\.\[dynamics"):
        extra("matplotlib.figure")
