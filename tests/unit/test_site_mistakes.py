from __future__ import annotations

from pathlib import Path

import pytest

from cloudmesh_actors import site
from cloudmesh_actors.errors import SiteError

_INTRODUCTION, *MISTAKES = (Path(__file__).parent / "site_mistakes.yaml").read_text().split("\n\n")


@pytest.mark.parametrize("text", MISTAKES, ids=lambda text: text.partition("\n")[0])
def test_a_mistake_is_one_sentence_with_line_and_key(
    text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BMC_PASSWORD", "hunter22")
    sentence, _, content = text.partition("\n")
    path = tmp_path / "site.yaml"
    path.write_text(content)
    with pytest.raises(SiteError) as caught:
        site.load(path)
    assert [str(error) for error in site.check(path)] == [str(caught.value)]
    assert str(caught.value) == f"{path}:{sentence.removeprefix('# ')}"
