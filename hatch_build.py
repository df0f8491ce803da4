"""Build hook: compiles the C sources of the request path where a compiler is present."""

import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

sys.path.insert(0, str(Path(__file__).parent))

from native.compile import SOURCES, CompileError, compile_source, platform_tag


class NativeBuildHook(BuildHookInterface):  # type: ignore[type-arg]
    """Runs for wheels and for editable installs."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Adds the shared objects to the wheel; without a compiler it stays pure Python."""
        try:
            objects = [compile_source(source) for source in SOURCES]
        except CompileError as error:
            self.app.display_warning(f"Winnow is installed without its native parts: {error}")
            return
        self.app.display_info(f"compiled {', '.join(path.name for path in objects)} ({version})")
        build_data["artifacts"] += [str(path.relative_to(self.root)) for path in objects]
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform_tag()}"
