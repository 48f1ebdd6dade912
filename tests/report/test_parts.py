from markupsafe import Markup, escape
from matplotlib.figure import Figure

from detection.report.parts import svg


def test_a_figure_is_markup_whose_text_was_escaped():
    figure = Figure()
    figure.text(0.5, 0.5, "<b>")
    markup = svg(figure, 'a "b" <c>', "salt")
    assert isinstance(markup, Markup)
    assert escape(markup) == markup  # a page puts it in as it is
    assert markup.startswith('<svg role="img" aria-label="a &quot;b&quot; &lt;c&gt;"')
    assert "<b>" not in markup
