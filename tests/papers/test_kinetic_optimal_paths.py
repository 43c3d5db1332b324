import jensen_papers


def test_quick_reproduction_holds_every_claim(tmp_path):
    figure = tmp_path / "figure.png"
    result = jensen_papers.reproduce("kinetic-optimal-paths", figure=figure)
    assert result.broken == []
    assert len(result.claims) == 13
    assert figure.stat().st_size > 10_000
    assert (result.id, result.slug) == ("P127", "kinetic-optimal-paths")
