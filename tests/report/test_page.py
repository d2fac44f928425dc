"""How values are shown, that everything is escaped, and that the checker of the other tests sees what it should."""

import numpy as np
import pytest

from aqa_jax.report import images, page
from tests.report.parsed import Page, check


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (page.number(1.256), "1.26"),
        (page.number(-1.2, 1), "−1.2"),
        (page.number(None), "–"),
        (page.number(float("nan")), "–"),
        (page.number(np.float32(2)), "2.00"),
        (page.signed(0.5, 1), "+0.5"),
        (page.signed(-0.5, 1), "−0.5"),
        (page.signed(None), "–"),
        (page.value(True), "yes"),
        (page.value((1, 2.5)), "1, 2.5"),
        (page.value(""), "–"),
        (page.value(0), "0"),
    ],
)
def test_values_as_they_are_shown(shown, expected):
    assert shown == expected


def test_leaves_of_nested_mappings_keep_their_order():
    assert page.leaves({"b": 1, "a": {"y": 2, "x": {"z": 3}}}) == [("b", 1), ("a.y", 2), ("a.x.z", 3)]


def test_every_template_is_escaped_and_a_missing_value_is_an_error():
    environment = page.environment()
    assert environment.from_string("{{ x }}").render(x="<script>") == "&lt;script&gt;"
    with pytest.raises(Exception, match="nothing"):
        environment.from_string("{{ nothing }}").render()


def test_frames_become_pictures_of_bounded_size():
    frames = np.random.default_rng(0).integers(0, 256, (3, 400, 200, 3), np.uint8)
    from PIL import Image

    for uri, count in ((images.still(frames[0]), 1), (images.moving(frames), 3)):
        assert uri.startswith("data:image/webp;base64,")
        picture = Image.open(_bytes(uri))
        assert picture.size == (images.SIDE // 2, images.SIDE) and getattr(picture, "n_frames", 1) == count


def test_a_picture_that_is_not_there_is_none(tmp_path):
    assert images.png_file(tmp_path / "none.png") is None


GOOD = '<html lang="en"><meta name="viewport"><title>t</title><h1>x</h1></html>'


@pytest.mark.parametrize(
    "bad",
    [
        '<img alt="x" src="https://example.org/a.png">',
        '<img alt="x" src="//example.org/a.png">',
        '<a href="javascript:alert(1)">x</a>',
        '<p onclick="x()">x</p>',
        '<p style="color: red">x</p>',
        '<img src="data:,">',
        "<table><tr><td>x</td></tr></table>",
        "<style>p { background: url(x) }</style>",
        "<p>",
    ],
)
def test_the_checker_checks(bad):
    check(GOOD)
    with pytest.raises(AssertionError):
        check(GOOD.replace("</html>", f"{bad}</html>"))


def test_the_checker_reads_texts():
    assert Page("<p>a <b>b</b></p>").text == "a b"


def _bytes(uri):
    import base64
    import io

    return io.BytesIO(base64.b64decode(uri.partition(",")[2]))
