"""What a collector does about garbage that counting references does not free."""

import gc
import weakref
from collections.abc import Iterator
from threading import Event

import pytest
from aforo_collector.cli import serve

OBJECTS_MIN = 20_000
LOOKS = 5


class Knot:
    """An object that holds itself."""

    def __init__(self) -> None:
        self.itself = self


class Looks(Event):
    """Ends the loop after some looks, making objects before each."""

    def __init__(self, objects_each: int) -> None:
        super().__init__()
        self._objects_each = objects_each
        self._left = LOOKS
        self.made: list[list[object]] = []

    def wait(self, timeout: float | None = None) -> bool:
        """Make objects that stay, and tell whether that was the last look."""
        self.made += [[] for _ in range(self._objects_each)]
        self._left -= 1
        return self._left < 0


@pytest.fixture(autouse=True)
def _put_back() -> Iterator[None]:
    yield
    gc.unfreeze()
    gc.enable()


@pytest.mark.parametrize(
    ("objects_each", "is_freed"), [(OBJECTS_MIN // LOOKS // 2, False), (OBJECTS_MIN, True)]
)
def test_garbage_is_looked_for_only_when_much_was_made(
    monkeypatch: pytest.MonkeyPatch, objects_each: int, is_freed: bool
) -> None:
    """A look for cycles holds all requests up: there is none until enough objects were made, then there is."""
    monkeypatch.setattr(serve, "GARBAGE_OBJECTS_MIN", OBJECTS_MIN)
    looks = Looks(objects_each)
    found: list[weakref.ref[Knot]] = []
    first_wait = looks.wait

    def wait(timeout: float | None = None) -> bool:
        if not found:
            found.append(weakref.ref(Knot()))
        return first_wait(timeout)

    monkeypatch.setattr(looks, "wait", wait)
    serve.collect_garbage(looks)
    assert (found[0]() is None) is is_freed
