"""Do something as soon as a module is imported: now if it is, else right after its code has run.

So metering one framework never imports another: AG2 alone takes seconds.
"""

import sys
from collections.abc import Callable, Mapping, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TypeAlias

from aforo_autogen import frames

Action: TypeAlias = Callable[[ModuleType], None]


class Arrivals(MetaPathFinder):
    """Waits for modules. It finds none itself: it lets the other finders find, and follows the loader."""

    def __init__(self, actions: Mapping[str, Action]) -> None:
        self._actions = actions

    def start(self) -> None:
        """Act on what is imported, and wait for the rest."""
        sys.meta_path.insert(0, self)
        for name, action in self._actions.items():
            module = sys.modules.get(name)
            if module is not None and not getattr(module.__spec__, "_initializing", False):
                frames.guarded(action, module)

    def stop(self) -> None:
        """Wait no longer."""
        if self in sys.meta_path:
            sys.meta_path.remove(self)

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec that the other finders give, its loader followed; None for modules nobody waits for."""
        action = self._actions.get(fullname)
        if action is None:
            return None
        for finder in sys.meta_path:
            if finder is not self and (spec := finder.find_spec(fullname, path, target)) is not None:
                frames.guarded(lambda found: self._follow(found, action), spec)
                return spec
        return None

    def _follow(self, spec: ModuleSpec, action: Action) -> None:
        loader = spec.loader
        if loader is None:
            return
        execute = loader.exec_module

        def exec_module(module: ModuleType) -> None:
            del loader.exec_module
            execute(module)
            if self in sys.meta_path:
                frames.guarded(action, module)

        loader.exec_module = exec_module  # type: ignore[method-assign]
