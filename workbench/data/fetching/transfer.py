"""One file from its publisher: what an interrupted transfer has brought stays beside it, and the next one goes on from there."""

from __future__ import annotations

import functools
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from workbench.data.catalogue import Remote
from workbench.data.errors import DataNotFoundError

RETRIES = 2
"""How often a broken transfer is tried again, per address."""
_TIMEOUT = 30
_CHUNK = 1 << 14


def transfer(remote: Remote, folder: Path, progress: bool) -> Path:
    """The file, from the first of its addresses that delivers the right bytes; pooch compares them with the MD5.

    Bytes that arrived before a transfer broke are kept in `folder` under the file's name and `.part`, also for another
    address of the same file. Once complete but different from the official file, they are deleted.
    Raises DataNotFoundError with what every address answered.
    """
    import pooch
    import requests

    pooch.get_logger().setLevel(logging.WARNING)
    part = folder / f"{remote.name}.part"
    failures = []
    for url in remote.urls:
        keeper = pooch.create(
            path=folder,
            base_url="",
            registry={remote.name: f"md5:{remote.md5}"},
            urls={remote.name: url},
            retry_if_failed=RETRIES,
        )
        downloader: Any = _Resuming(part, progress)
        try:
            return Path(keeper.fetch(remote.name, downloader=downloader))
        except ValueError as error:
            failures.append(f"{url}: the file differs from the official one ({error})")
        except (requests.exceptions.RequestException, OSError) as error:
            failures.append(f"{url}: {error}")
    arrived = part.stat().st_size if part.exists() else 0
    kept = (
        f"the first {arrived:,} bytes are kept, the next attempt goes on from there" if arrived else "nothing was kept"
    )
    listed = "\n  ".join(failures)
    raise DataNotFoundError(f"{remote.name} could not be downloaded; {kept}:\n  {listed}")


@dataclass(frozen=True)
class _Resuming:
    """A downloader for pooch. It fills `part`, and hands it over as pooch's own temporary file when it is complete."""

    part: Path
    progress: bool

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        import requests

        have = self.part.stat().st_size if self.part.exists() else 0
        # Compressed on the way, a range would count other bytes than those of the file.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            continues = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if have and (response.status_code == 416 or (response.status_code == 206 and not continues)):
                self.part.unlink()  # as long as the file or longer, or a range that was not asked for: begin anew
                return self(url, output_file, pooch)
            response.raise_for_status()
            resumed = have if response.status_code == 206 else 0
            length = int(response.headers.get("Content-Length", 0))
            bar = tqdm if self.progress else functools.partial(tqdm, disable=True)
            total = resumed + length or None
            with (
                self.part.open("ab" if resumed else "wb") as file,
                bar(total=total, initial=resumed, unit="B", unit_scale=True, desc=self.part.stem) as shown,
            ):
                for piece in response.iter_content(_CHUNK):
                    file.write(piece)
                    shown.update(len(piece))
        self.part.replace(output_file)
