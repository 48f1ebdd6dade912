def test_speed_stands_beside_the_papers(both):
    _, page = both
    assert "27,100" in page.words
    assert "143x 270x" in page.words
    assert "SPPnet, ZF-5, 1 scale 0.053 0.089 0.142" in page.words
    assert "R-CNN, ZF-5: 14.5 s" in page.words
    assert "SPPnet, ZF-5, 1 scale: 142 ms" in page.words
