"""One file from its publisher: what an interrupted transfer has brought stays beside it, and the next one goes on from there."""

from __future__ import annotations

import functools
import logging
import os
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
        downloader: Any = _Resuming(part, progress, int(1.1 * remote.size) + (1 << 20))
        try:
            return Path(keeper.fetch(remote.name, downloader=downloader))
        except (_Hopeless, requests.exceptions.RequestException, OSError) as error:
            failures.append(f"{url}: {error}{_proxies()}")
        except ValueError as error:
            failures.append(f"{url}: the file differs from the official one ({error})")
    arrived = part.stat().st_size if part.exists() else 0
    kept = (
        f"the first {arrived:,} bytes are kept, the next attempt goes on from there" if arrived else "nothing was kept"
    )
    listed = "\n  ".join(failures)
    raise DataNotFoundError(f"{remote.name} could not be downloaded; {kept}:\n  {listed}")


class _Hopeless(Exception):
    """A transfer that fails again however often it is tried."""


def _proxies() -> str:
    """Which settings of proxies are in force, without their values, which may hold passwords."""
    names = [
        name
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
        if os.environ.get(name) or os.environ.get(name.lower())
    ]
    return f" (the proxy set in {' and '.join(names)} is used)" if names else ""


@dataclass(frozen=True)
class _Resuming:
    """A downloader for pooch. It fills `part`, and hands it over as pooch's own temporary file when it is complete."""

    part: Path
    progress: bool
    limit: int

    def __call__(self, url: str, output_file: Any, pooch: Any) -> None:
        """Pooch tries again after a broken transfer and a wrong file; what no waiting can change is a `_Hopeless`."""
        import requests

        wrong_address = (
            requests.exceptions.InvalidSchema,
            requests.exceptions.MissingSchema,
            requests.exceptions.InvalidURL,
            requests.exceptions.InvalidHeader,
            requests.exceptions.TooManyRedirects,
        )
        try:
            self._transfer(url, output_file)
        except wrong_address as error:
            raise _Hopeless(f"the address, a redirect or a proxy setting cannot be used: {error}") from None
        except requests.exceptions.HTTPError as error:
            status = 0 if error.response is None else error.response.status_code
            if 400 <= status < 500 and status not in (408, 425, 429):
                raise _Hopeless(str(error)) from None
            raise
        except (requests.exceptions.RequestException, OSError):
            raise
        except Exception as error:  # of urllib3, which does not turn all of its own into those of requests
            raise _Hopeless(f"{type(error).__name__}: {error}") from None

    def _transfer(self, url: str, output_file: Any) -> None:
        import requests

        have = self.part.stat().st_size if self.part.exists() else 0
        # Compressed on the way, a range would count other bytes than those of the file.
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=_TIMEOUT) as response:
            continues = response.headers.get("Content-Range", "").startswith(f"bytes {have}-")
            if have and (response.status_code == 416 or (response.status_code == 206 and not continues)):
                self.part.unlink()  # as long as the file or longer, or a range that was not asked for: begin anew
                return self._transfer(url, output_file)
            response.raise_for_status()
            resumed = have if response.status_code == 206 else 0
            length = int(response.headers.get("Content-Length", 0))
            bar = tqdm if self.progress else functools.partial(tqdm, disable=True)
            total = resumed + length or None
            with (
                self.part.open("ab" if resumed else "wb") as file,
                bar(total=total, initial=resumed, unit="B", unit_scale=True, desc=self.part.stem) as shown,
            ):
                arrived = resumed
                for piece in response.iter_content(_CHUNK):
                    arrived += len(piece)
                    if arrived > self.limit:
                        break
                    file.write(piece)
                    shown.update(len(piece))
        if arrived > self.limit:
            self.part.unlink()
            raise _Hopeless(f"more than {self.limit:,} bytes were sent, and the official file is smaller")
        self.part.replace(output_file)
