from markupsafe import Markup, escape
from matplotlib.figure import Figure

from detection.report import plots
from detection.report.parts import colour_of, svg


def test_colours_begin_again_after_the_last():
    count = len(plots.SERIES)
    assert len({colour_of(index) for index in range(count)}) == count
    assert [colour_of(count + index) for index in range(count)] == list(plots.SERIES)


def test_a_figure_is_markup_whose_text_was_escaped():
    figure = Figure()
    figure.text(0.5, 0.5, "<b>")
    markup = svg(figure, 'a "b" <c>', "salt")
    assert isinstance(markup, Markup)
    assert escape(markup) == markup  # a page puts it in as it is
    assert markup.startswith('<svg role="img" aria-label="a &quot;b&quot; &lt;c&gt;"')
    assert "<b>" not in markup
