import jensen_papers


def test_quick_reproduction_holds_every_claim(tmp_path):
    figure = tmp_path / "figure.png"
    result = jensen_papers.reproduce("ivon", figure=figure)
    assert result.broken == []
    assert len(result.claims) == 9
    assert figure.stat().st_size > 10_000
    assert (result.id, result.slug) == ("P238", "ivon")
