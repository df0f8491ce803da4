"""The page's own files, held in memory: nothing is looked up on disk by what a request says."""

import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from starlette.requests import Request
from starlette.responses import Response

FOLDER: Final = Path(__file__).with_name("static")
_TYPES: Final = {".html": "text/html", ".css": "text/css", ".js": "text/javascript"}


@dataclass(frozen=True, slots=True)
class PageFile:
    """One file with the headers that it is always sent with."""

    content: bytes
    headers: Mapping[str, str]

    def answer(self, request: Request) -> Response:
        """The file, or 304 where the browser has it."""
        if request.headers.get("if-none-match") == self.headers["ETag"]:
            return Response(status_code=304, headers=self.headers)
        return Response(self.content, headers=self.headers)


def page_files(image_origins: list[str]) -> dict[str, PageFile]:
    """Every file by its path on the server; the page itself is at `/`.

    image_origins: other servers that pictures may be loaded from; nothing else may be.
    """
    policy = "; ".join(
        (
            "default-src 'self'",
            " ".join(("img-src 'self' data:", *image_origins)),
            "object-src 'none'",
            "base-uri 'none'",
            "form-action 'self'",
            "frame-ancestors 'none'",
        )
    )
    files = {}
    for path in sorted(FOLDER.iterdir()):
        content = path.read_bytes()
        kind = _TYPES.get(path.suffix) or mimetypes.guess_type(path.name)[0]
        url = "/" if path.name == "index.html" else f"/playground/{path.name}"
        files[url] = PageFile(
            content,
            {
                "Content-Type": f"{kind}; charset=utf-8",
                "Content-Security-Policy": policy,
                "X-Content-Type-Options": "nosniff",
                "Referrer-Policy": "no-referrer",
                # Asked for again each time and mostly answered 304: a new release shows at once.
                "Cache-Control": "no-cache",
                "ETag": f'"{hashlib.sha256(content).hexdigest()[:16]}"',
            },
        )
    return files
