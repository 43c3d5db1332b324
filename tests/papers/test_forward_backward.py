import json

import jensen_papers


def test_quick_reproduction_holds_every_claim(tmp_path):
    figure = tmp_path / "figure.png"
    result = jensen_papers.reproduce("forward-backward", figure=figure)
    assert result.broken == []
    assert len(result.claims) == 9
    assert figure.stat().st_size > 10_000
    shown = json.loads(result.to_json())
    assert set(shown) == {"id", "slug", "seconds", "claims"}
    assert (shown["id"], shown["slug"]) == ("P031", "forward-backward")
