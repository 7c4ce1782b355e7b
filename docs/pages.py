"""The pages of the documentation site: the repository's own texts, and a page of docstrings per room.

Files keep their places in the repository, so that links between them hold here and there.
"""

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
TEXTS = ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "benchmarks/README.md")
_IMAGE = re.compile(r"\]\(([^)\s]+\.png)\)")


def _rooms() -> dict[str, list[str]]:
    """Returns each room's modules, packages before what is in them; the ground lies beside the rooms."""
    rooms: dict[str, list[str]] = {}
    for path in sorted((ROOT / "jleaks").rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        named = parts[:-1] if parts[-1] == "__init__" else parts
        if not named[-1].startswith("_"):
            room = parts[1] if len(parts) > 2 else "ground"
            rooms.setdefault(room, []).append(".".join(named))
    return {room: sorted(set(modules) - {"jleaks"}) for room, modules in rooms.items()}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Returns all that the site is made of, in place of what lies in `docs/`."""
    texts = [*TEXTS, *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
    images = {
        (ROOT / text).parent.joinpath(found).resolve().relative_to(ROOT).as_posix()
        for text in texts
        for found in _IMAGE.findall((ROOT / text).read_text())
    }
    # The theme's own are those that do not lie in docs/.
    pages = Files([file for file in files if file.src_dir != config.docs_dir])
    for path in [*texts, *sorted(images)]:
        pages.append(File(path, str(ROOT), config.site_dir, config.use_directory_urls))
    for room, modules in _rooms().items():
        content = f"# {room}\n\n" + "".join(f"::: {module}\n\n" for module in modules)
        pages.append(File.generated(config, f"api/{room}.md", content=content))
    return pages
