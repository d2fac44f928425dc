"""PD4T's annotations: what may be wrong with them, patients on both sides, and the published counts."""

import pytest

from aqa_jax.data.build import build
from aqa_jax.data.video_store import VideoStore
from aqa_jax.errors import ConfigError, DataError
from data_builders.pd4t import annotations, severity
from tests.data_builders.pd4t_raw import FOLDERS, VIDEOS, Video, of_task, write_csvs, write_frames, write_raw


def load(raw, tasks, **options):
    files = annotations.csv_files(raw / "Annotations", annotations.tasks_of(tasks))
    return annotations.load(files, **{"check_counts": False, **options})


def message(raw, tasks, **options):
    with pytest.raises(DataError) as error:
        load(raw, tasks, **options)
    return str(error.value)


def published_videos():
    """As many videos a task, score and split as published, with the published fewest and most frames."""
    videos = []
    for task, table in severity.PUBLISHED.items():
        scores = [(score, n) for score in range(5) for n in range(table["videos"][score])]
        for number, (score, n) in enumerate(scores):
            split = "test" if number % 2 == 0 and number // 2 < table["test"] else "train"
            low, high = table["frames"][score]
            frames = (low, high)[n] if n < 2 else low + 1
            patient = {"test": 101, "train": 1}[split] + number % (8 if split == "test" else 22)
            side = "" if task == "gait" else "lr"[number % 2]
            videos.append(Video(task, split, f"14-{number:06d}", side, f"{patient:03d}", frames, score))
    return videos


def test_the_published_table_adds_up():
    assert {task: sum(t["videos"]) for task, t in severity.PUBLISHED.items()} == {
        "gait": 426, "finger": 806, "hand": 848, "leg": 851
    }  # fmt: skip
    assert all(sum(t["videos"]) == t["train"] + t["test"] for t in severity.PUBLISHED.values())
    for table in severity.PUBLISHED.values():
        assert [n == 0 for n in table["videos"]] == [frames is None for frames in table["frames"]]


def test_published_counts_are_found_and_differences_named(tmp_path):
    videos = published_videos()
    write_csvs(tmp_path, videos)
    found = load(tmp_path, "all", check_counts=True)
    assert found.observed == severity.PUBLISHED
    assert len(found.entries) == 2931

    # The longest gait video is cut by a frame, and a leg video of score 4 is called 3.
    longest = next(i for i, v in enumerate(videos) if v.frames == 13428)
    worst = next(i for i, v in enumerate(videos) if (v.task, v.score) == ("leg", 4))
    videos[longest] = videos[longest]._replace(frames=13427)
    videos[worst] = videos[worst]._replace(score=3)
    write_csvs(tmp_path, videos[:-1])
    said = message(tmp_path, "all", check_counts=True)
    assert said.splitlines()[1:] == [
        "  gait, score 2: 421..13427 frames, published 421..13428",
        "  leg, train: 626 videos, published 627",
        "  leg, score 3: 12 videos, published 11",
        "  leg, score 4: 1 videos, published 3",
        "  leg, score 4: 435..435 frames, published 345..435",
    ]
    assert "check_counts=false" in said
    assert load(tmp_path, "finger", check_counts=True).observed.keys() == {"finger"}
    left_out = [f"finger_{v.name}" for v in videos if v.task == "finger"][:3]
    assert len(load(tmp_path, "finger", check_counts=True, exclude=left_out).entries) == 803


def test_the_check_is_the_builds_default_and_its_table_is_kept(tmp_path):
    write_raw(tmp_path / "raw", of_task("gait"))
    options = {"height": 24, "width": 32}
    with pytest.raises(DataError, match="gait, train: 2 videos, published 310"):
        build("pd4t", data_dir=tmp_path / "data", raw_dir=tmp_path / "raw", options=options, workers=0)
    assert not list((tmp_path / "data").rglob("dataset_info.json"))
    options["check_counts"] = False
    path = build("pd4t", data_dir=tmp_path / "data", raw_dir=tmp_path / "raw", options=options, workers=0)
    metadata = VideoStore.open(path).metadata
    assert metadata["severity"] == {
        "gait": {
            "videos": [1, 0, 1, 1, 0], "frames": [[14, 14], None, [9, 9], [12, 12], None], "train": 2, "test": 1
        }
    }  # fmt: skip
    assert "gait, train: 2 videos, published 310" in metadata["differs_from_published"]
    assert metadata["counts_checked"] is False


def test_frame_ranges_of_extracted_frames_are_not_compared(tmp_path):
    # Whoever extracted the frames may have got some fewer.
    videos = [v._replace(frames=v.frames - 1) for v in published_videos() if v.task == "gait"]
    (tmp_path / "lists").mkdir()
    for split in ("train", "test"):
        own = [v for v in videos if v.split == split]
        lines = [f"{v.sample} {v.score} {v.frames} {v.patient}\n" for v in own]
        (tmp_path / "lists" / f"gait_{split}.txt").write_text("".join(lines))
    files = {("gait", split): tmp_path / "lists" / f"gait_{split}.txt" for split in ("train", "test")}
    assert len(annotations.load(files, is_csv=False).entries) == 426


def test_faulty_lines_are_all_named_with_file_and_line(tmp_path):
    write_csvs(tmp_path, of_task("finger"))
    folder = tmp_path / "Annotations" / FOLDERS["finger"]
    train = [
        "id,frames,score",
        "14-005197_l_001,10,5",
        "14-005197_r_001,10,1.5",
        "",
        "14-000001_r_001,10,",
        "14-000002_r_001,x,1",
        "14-000003_r_001,0,1",
        "14-000004_001,10,1",
        "14-000005_l_001,10",
        "14-000006_l_001,10,-1",
        "14-000007_l_001,10,2.0",
        "14-000008_x_001;10;2",
    ]
    (folder / "train.csv").write_text("\r\n".join(train) + "\r\n")
    (folder / "test.csv").write_text("\n")
    said = message(tmp_path, "finger").splitlines()
    assert "11 faults in the annotation files" in said[0] and "no header line" in said[0]
    expected = {
        1: "the id 'id' is not of the form YY-NNNNNN_l_PPP or YY-NNNNNN_r_PPP",
        2: "14-005197_l_001: the score is '5', not one of 0, 1, 2, 3, 4",
        3: "14-005197_r_001: the score is '1.5'",
        5: "the score is ''",
        6: "the number of frames is 'x', not a whole number above 0",
        7: "the number of frames is '0'",
        8: "the id '14-000004_001' is not of the form",
        9: "2 cells, where there are three: id,frames,score",
        10: "the score is '-1'",
        12: "1 cells, where there are three",
    }
    faults = [line for line in said[1:] if "train.csv" in line]
    for (number, text), line in zip(expected.items(), faults, strict=True):
        assert f"train.csv, line {number}: " in line and text in line
    assert said[-1].endswith("test.csv: the file is empty")


def test_what_is_not_text(tmp_path):
    write_csvs(tmp_path, of_task("gait"))
    (tmp_path / "Annotations" / "Gait" / "test.csv").write_bytes(b"14-005197_001,10,1\xff\xfe\n")
    assert "test.csv: not text in UTF-8" in message(tmp_path, "gait")


def test_what_other_programs_write_is_read(tmp_path):
    write_csvs(tmp_path, of_task("gait"))
    (tmp_path / "Annotations" / "Gait").rename(tmp_path / "Annotations" / "gait")
    path = tmp_path / "Annotations" / "gait" / "train.csv"
    path.write_bytes(b"\xef\xbb\xbf14-005197_001, 14, 0.0\r\n\r\n14-005690_002,9,2")
    assert [(e.id, e.frames, e.score) for e in load(tmp_path, "gait").splits["train"]] == [
        ("gait_14-005197_001", 14, 0),
        ("gait_14-005690_002", 9, 2),
    ]


def test_missing_files_are_all_named(tmp_path):
    write_csvs(tmp_path, of_task("gait", "leg"))
    (tmp_path / "Annotations" / "Leg agility" / "test.csv").unlink()
    with pytest.raises(DataError) as error:
        load(tmp_path, "all")
    assert str(error.value).count(".csv") == 5 and "Hand movement/train.csv" in str(error.value)


def test_an_id_listed_twice(tmp_path):
    write_csvs(tmp_path, [*of_task("hand"), VIDEOS[7], VIDEOS[9]._replace(score=0)])
    said = message(tmp_path, "hand")
    assert "2 ids are listed more than once" in said
    assert "hand_14-005197_l_001: " in said and "train.csv, line 1 and " in said and "train.csv, line 3" in said
    assert "hand_15-002976_r_003: " in said and "test.csv, line 2" in said


def test_one_visit_in_several_tasks_is_no_repetition(tmp_path):
    write_csvs(tmp_path, VIDEOS)
    ids = [entry.id for entry in load(tmp_path, "all", leak="exclude").entries]
    assert {"gait_14-005197_001", "finger_14-005197_l_001", "hand_14-005197_l_001"} <= set(ids)


@pytest.mark.parametrize("leak", ["refuse", "exclude"])
def test_a_patient_in_train_and_test_of_one_task_is_always_refused(tmp_path, leak):
    extra = [
        Video("leg", "test", "16-000001", "l", "001", 9, 1),
        Video("leg", "test", "16-000002", "l", "002", 9, 1),
    ]
    write_csvs(tmp_path, [*VIDEOS, *extra])
    for task in ("leg", "all"):
        said = message(tmp_path, task, leak=leak).splitlines()
        assert "2 patients are in train and test of one task" in said[0]
        assert "leg, patient 001: 14-005197_l_001 in train (" in said[1] and "16-000001_l_001 in test (" in said[1]
        assert "leg, patient 002: " in said[2] and "test.csv, line 3" in said[2]


def test_the_leak_over_tasks_is_refused_or_the_patients_excluded(tmp_path):
    write_csvs(tmp_path, VIDEOS)
    said = message(tmp_path, "all")
    assert said.splitlines()[1:] == [
        "  patient 002: test in finger; train in gait, hand, leg",
        "  patient 003: test in gait, hand, leg; train in finger",
    ]
    assert "one task at a time, or set leak=exclude, which leaves out these patients' 4 of 9 training videos" in said

    found = load(tmp_path, "all", leak="exclude")
    assert {entry.patient for entry in found.splits["train"]} == {"001"}
    assert [entry.id for entry in found.dropped] == [
        "gait_14-005690_002", "finger_15-002976_l_003", "hand_14-005690_r_002", "leg_14-005690_l_002"
    ]  # fmt: skip
    assert len(found.splits["test"]) == 4
    assert not load(tmp_path, "gait").leak
    with pytest.raises(ConfigError, match="option leak: 'ignore' is not one of refuse, exclude"):
        load(tmp_path, "all", leak="ignore")
    assert not load(tmp_path, "all", exclude=[e.id for e in found.dropped]).leak


def test_exclusion_that_leaves_nobody(tmp_path):
    write_csvs(tmp_path, [v for v in VIDEOS if v.patient != "001"])
    assert "leak=exclude leaves no training video" in message(tmp_path, "all", leak="exclude")


def test_the_leak_is_named_in_the_report_and_the_metadata(tmp_path, capfd):
    write_frames(tmp_path / "raw")
    options = {"height": 24, "width": 32, "check_counts": False, "task": "all"}
    with pytest.raises(DataError, match="patient 003: test in gait, hand, leg; train in finger"):
        build("pd4t", data_dir=tmp_path / "data", raw_dir=tmp_path / "raw", options=options, workers=0)
    options["leak"] = "exclude"
    path = build("pd4t", data_dir=tmp_path / "data", raw_dir=tmp_path / "raw", options=options, workers=0)
    traps = VideoStore.open(path).metadata["traps"]
    assert traps["leak"] == {
        "002": {"train": ["gait", "hand", "leg"], "test": ["finger"]},
        "003": {"train": ["finger"], "test": ["gait", "hand", "leg"]},
    }
    assert traps["left_out_for_the_leak"][1] == "finger_15-002976_l_003" and len(traps["left_out_for_the_leak"]) == 4
    said = capfd.readouterr().err
    assert "left out: 4 training videos of 2 patients who are tested in another task (leak=exclude):" in said
    assert "patient 002: test in finger; train in gait, hand, leg" in said


def test_unknown_ids_cannot_be_excluded(tmp_path):
    write_csvs(tmp_path, of_task("gait"))
    with pytest.raises(DataError, match=r"no videos 14-005197_001 \(ids look like gait_14-005197_001"):
        load(tmp_path, "gait", exclude=["14-005197_001"])


def test_list_lines(tmp_path):
    path = tmp_path / "train.txt"
    path.write_text("14-005197_l 2 300 26\n14-005197_r_026 1 200 026\n")
    other = tmp_path / "test.txt"
    other.write_text("14-005198_l 2 300 027\n")
    files = {("hand", "train"): path, ("hand", "test"): other}
    first, second = annotations.load(files, is_csv=False, check_counts=False).splits["train"]
    assert (first.id, first.name, first.patient, first.score) == ("hand_14-005197_l_026", "26/14-005197_l", "026", 2)
    assert (second.id, second.name) == ("hand_14-005197_r_026", "026/14-005197_r_026")
    lines = ["14-005197 2 300 026", "14-005197_l_025 2 300 026", "14-005197_l 2 300", "14-005197_l 2 300 P26"]
    path.write_text("\n".join(lines))
    with pytest.raises(DataError) as error:
        annotations.load(files, is_csv=False, check_counts=False)
    for number, text in enumerate(["not of the form YY-NNNNNN_l", "names another patient", "3 words", "'P26'"], 1):
        assert f"train.txt, line {number}: " in str(error.value) and text in str(error.value)
