import functools

from gradstab.nn._methods import method_of, overrides


class Base:
    def one(self):
        return 1

    def two(self) -> int:
        return 2


class Kept(Base):
    pass


class Changed(Base):
    def two(self) -> int:
        return 3


def test_tells_what_a_class_overrides():
    assert not overrides(Kept, Base, "one", "two")
    assert overrides(Changed, Base, "one", "two")
    assert not overrides(Changed, Base, "one")


def test_sees_through_wrappers(monkeypatch):
    original = Base.one

    @functools.wraps(original)
    def wrapper(self):
        return original(self)

    monkeypatch.setattr(Kept, "one", wrapper, raising=False)
    assert method_of(Kept, "one") is original
    assert not overrides(Kept, Base, "one")
