import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from aqa_jax.data import decode
from aqa_jax.errors import DecodeError

VIDEOS = Path(__file__).parent / "videos"


def picture(height=48, width=64):
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 4, columns * 3, rows + columns], -1).astype(np.uint8)


def jpeg(image):
    return cv2.imencode(".jpg", image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 98])[1].tobytes()


def test_jpeg_is_rgb():
    np.testing.assert_allclose(decode.decode_jpeg(jpeg(picture()), "it").astype(int), picture(), atol=8)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (jpeg(picture())[:-2], "it: the JPEG is cut short"),
        (jpeg(picture())[:700] + bytes(300), "it: the JPEG is cut short"),
        (b"GIF89a" + bytes(100), "it: not a JPEG"),
        (b"", "it: not a JPEG"),
        (b"\xff\xd8" + bytes(50) + b"\xff\xd9", "it: the image is damaged"),
    ],
)
def test_bad_jpeg(data, message):
    with pytest.raises(DecodeError, match=message):
        decode.decode_jpeg(data, "it")


def test_padding_after_the_end_of_a_jpeg_is_accepted():
    np.testing.assert_array_equal(
        decode.decode_jpeg(jpeg(picture()) + bytes(20), ""), decode.decode_jpeg(jpeg(picture()), "")
    )


def test_a_forged_size_allocates_nothing():
    data = bytearray(jpeg(picture()))
    start = data.find(b"\xff\xc0")
    data[start + 5 : start + 9] = b"\xff\xff\xff\xff"
    with pytest.raises(DecodeError, match=r"it: (OpenCV refuses|the image is damaged)"):
        decode.decode_jpeg(bytes(data), "it")


def test_read_image(tmp_path):
    (tmp_path / "a.jpg").write_bytes(jpeg(picture()))
    cv2.imwrite(str(tmp_path / "a.png"), picture()[..., ::-1])
    np.testing.assert_array_equal(decode.read_image(tmp_path / "a.png"), picture())
    np.testing.assert_array_equal(decode.read_image(tmp_path / "a.jpg"), decode.decode_jpeg(jpeg(picture()), ""))
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "page.png").write_bytes(b"<svg>")
    cv2.imwrite(str(tmp_path / "scan.tiff"), picture())
    (tmp_path / "huge.png").touch()
    os.truncate(tmp_path / "huge.png", 32 * 2**30)
    for name, message in (
        ("none.jpg", "No such file"),
        ("empty.jpg", "is empty"),
        ("page.png", "not a JPEG"),
        ("scan.tiff", "not a JPEG or PNG"),
        ("huge.png", "larger than"),
    ):
        with pytest.raises(DecodeError, match=f"{name}: .*{message}"):
            decode.read_image(tmp_path / name)


def test_resize_keeps_means_and_sizes():
    image = picture(100, 200)
    small = decode.resize(image, (25, 50))
    np.testing.assert_allclose(small, image.reshape(25, 4, 50, 4, 3).mean((1, 3)), atol=1)
    assert decode.resize(image, (100, 200)) is image
    assert decode.resize(image, (150, 300)).shape == (150, 300, 3)


def test_a_crop_is_resized_alone_and_comes_out_the_same(monkeypatch):
    rng = np.random.default_rng(0)
    sizes = [((720, 1280), (256, 455)), ((480, 640), (240, 320)), ((48, 64), (40, 80)), ((37, 53), (37, 53))]
    for _ in range(60):
        large = rng.integers(8, 120, 2) * rng.integers(1, 9)
        sizes.append((tuple(large), tuple(np.maximum(large * rng.uniform(0.1, 1.1, 2), 4).astype(int))))
    resized = []
    original = decode.cv2.resize
    monkeypatch.setattr(
        decode.cv2, "resize", lambda image, *a, **k: resized.append(image.size) or original(image, *a, **k)
    )
    for large, size in sizes:
        image = rng.integers(0, 256, (*large, 3), np.uint8)
        height, width = (int(rng.integers(1, side + 1)) for side in size)
        top, left = (
            int(rng.integers(0, side - length + 1)) for side, length in zip(size, (height, width), strict=True)
        )
        expected = decode.resize(image, size)[top : top + height, left : left + width]
        np.testing.assert_array_equal(decode.resize(image, size, (top, left, height, width)), expected, strict=True)
    resized.clear()
    decode.resize(np.zeros((720, 1280, 3), np.uint8), (256, 455), (16, 115, 224, 224))
    assert resized == [630 * 768 * 3]


def test_video_frames_by_number():
    path = VIDEOS / "demo.mp4"
    assert decode.count_frames(path) == 280
    everything = list(decode.iterate_frames(path, size=(32, 40)))
    wanted = np.array([[7, 279], [0, 7]])
    np.testing.assert_array_equal(decode.read_frames(path, wanted, size=(32, 40)), np.stack(everything)[wanted])
    assert decode.read_frames(path, np.array([3])).shape == (1, 256, 340, 3)


def test_rotation_flag_is_honoured():
    frame = decode.read_frames(VIDEOS / "rotated_90.mov", np.array([0]))[0]
    assert frame.shape == (568, 320, 3)
    # A keyboard seen upright: its rows of dark keys lie one above the other, so the picture's rows differ
    # more in brightness than its columns; lying on its side it would be the other way round.
    grey = frame.mean(-1)
    assert grey.mean(1).std() > grey.mean(0).std()


def test_damaged_video():
    path = VIDEOS / "corrupted.mp4"
    for read in (
        decode.count_frames,
        lambda p: decode.read_frames(p, np.array([0])),
        lambda p: list(decode.iterate_frames(p)),
    ):
        with pytest.raises(DecodeError, match=r"corrupted\.mp4: damaged: 28 of 50 frames .* accept damaged videos"):
            read(path)
    assert decode.count_frames(path, accept_damaged=True) == 28
    assert decode.read_frames(path, np.array([27]), size=(9, 16), accept_damaged=True).shape == (1, 9, 16, 3)
    with pytest.raises(DecodeError, match="frame 28 asked for, the video has 28"):
        decode.read_frames(path, np.array([28]), accept_damaged=True)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("text.txt", b"a line of text\n" * 400),
        ("text.mp4", b"a line of text\n" * 400),
        ("noise.mp4", np.random.default_rng(0).bytes(5000)),
        ("empty.mp4", b""),
        ("picture.jpg", jpeg(picture())),
    ],
)
def test_what_is_not_a_video(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DecodeError, match=f"{name}: not a video"):
        decode.count_frames(tmp_path / name)
    with pytest.raises(DecodeError, match="no such file"):
        decode.count_frames(tmp_path / "none.mp4")
    with pytest.raises(DecodeError, match="File name too long"):
        decode.count_frames(tmp_path / ("n" * 300))


def test_truncated_video(tmp_path):
    data = (VIDEOS / "demo.mp4").read_bytes()
    (tmp_path / "half.mp4").write_bytes(data[: len(data) // 2])
    with pytest.raises(DecodeError, match=r"damaged|not a video"):
        decode.count_frames(tmp_path / "half.mp4")


@pytest.mark.parametrize("suffix", [".mp4", ".avi"])
def test_written_videos_read_back(tmp_path, suffix):
    frames = [np.roll(picture(), 2 * i, 1) for i in range(12)]
    path = tmp_path / f"v{suffix}"
    decode.write_video(path, frames, fps=10)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    back = decode.read_frames(path, np.arange(12))
    assert np.abs(back.astype(int) - np.stack(frames)).mean() < 12


def test_write_video_leaves_nothing_half_written(tmp_path):
    def frames():
        yield picture()
        raise RuntimeError("renderer broke")

    with pytest.raises(RuntimeError, match="renderer broke"):
        decode.write_video(tmp_path / "v.mp4", frames())
    for wrong, message in (([], "no frames"), ([picture(33, 64)], "even sides")):
        with pytest.raises(DecodeError, match=message):
            decode.write_video(tmp_path / "v.mp4", wrong)
    with pytest.raises(DecodeError, match=r"written as \.mp4 or \.avi"):
        decode.write_video(tmp_path / "v.mkv", [picture()])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["list.mp4", "list.m3u8", "list.ffconcat"])
@pytest.mark.parametrize("kind", ["hls", "concat"])
def test_a_playlist_shows_no_other_file(tmp_path, name, kind):
    """Not under its own name either, nor past the check for text: pixels would be those of another patient."""
    secret = tmp_path / "secret.avi"
    decode.write_video(secret, [picture()] * 5)
    text = {
        "hls": f"#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\n{secret}\n#EXT-X-ENDLIST\n",
        "concat": "ffconcat version 1.0\nfile secret.avi\n#",
    }[kind]
    for ending in ("", "\0"):
        (tmp_path / name).write_text(text + ending)
        with pytest.raises(DecodeError, match="not a video"):
            decode.count_frames(tmp_path / name)


def test_a_name_is_never_an_address(tmp_path, monkeypatch):
    decode.write_video(tmp_path / "a.avi", [picture()] * 5)
    monkeypatch.chdir(tmp_path)
    for name in ("concat:b.avi", "http:b.avi", "subfile,,start,0,end,9,,:b.avi"):
        (tmp_path / name).write_bytes((tmp_path / "a.avi").read_bytes())
        assert decode.count_frames(name) == 5


def test_frames_are_bounded_before_they_are_decoded(tmp_path, monkeypatch):
    decode.write_video(tmp_path / "a.avi", [picture()] * 5)
    monkeypatch.setattr(decode, "_MAX_PIXELS", 100)
    with pytest.raises(DecodeError, match=r"a\.avi: frames of \d+ x \d+ pixels; at most 100"):
        decode.count_frames(tmp_path / "a.avi")


@pytest.mark.parametrize(
    ("suffix", "codec"),
    [
        ("mkv", "VP80"), ("webm", "VP80"), ("mov", "mp4v"), ("m4v", "mp4v"), ("3gp", "mp4v"), ("ts", "mp4v"),
        ("mts", "mpg2"), ("mpg", "PIM1"), ("mxf", "mpg2"), ("flv", "FLV1"), ("wmv", "WMV2"), ("avi", "XVID"),
    ],
)  # fmt: skip
def test_the_containers_of_cameras_are_read(suffix, codec, tmp_path):
    path = tmp_path / f"a.{suffix}"
    writer = decode.cv2.VideoWriter(
        str(path), decode.cv2.CAP_FFMPEG, decode.cv2.VideoWriter.fourcc(*codec), 25, (64, 48)
    )
    assert writer.isOpened()
    for _ in range(6):
        writer.write(picture()[:48, :64])
    writer.release()
    assert decode.count_frames(path) == 6
