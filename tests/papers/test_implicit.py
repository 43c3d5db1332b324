import jensen_papers


def test_quick_reproduction_holds_every_claim(tmp_path):
    figure = tmp_path / "figure.png"
    result = jensen_papers.reproduce("implicit", figure=figure)
    assert result.broken == []
    assert len(result.claims) == 8
    assert figure.stat().st_size > 10_000
