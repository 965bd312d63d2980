"""Data sets of a few made-up examples."""

import dataclasses
import hashlib

import pytest


@pytest.fixture
def expect(monkeypatch):
    """Makes a loader and its builder expect the files in a folder, not the true ones.

    They are said to lie at another address, if one is given.
    """

    def expect(loader, builder, folder, address=None):
        files, infos = [], {}
        (info, *_) = builder.url_infos.values()
        for file in loader.FILES:
            content = (folder / file.name).read_bytes()
            sha256 = hashlib.sha256(content).hexdigest()
            url = file.url if address is None else f"{address}/{file.name}"
            changes = {"size": len(content), "sha256": sha256, "url": url}
            files.append(dataclasses.replace(file, **changes))
            infos[url] = dataclasses.replace(
                info, size=len(content), checksum=sha256, filename=file.name
            )
        monkeypatch.setattr(loader, "FILES", files)
        monkeypatch.setattr(builder, "url_infos", infos)

    return expect
