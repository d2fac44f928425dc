"""Small raw data in the layouts of MTL-AQA, PD4T and JIGSAWS, and a folder of videos, each with faults that it can be
given, one by one, and the place where each must be found.
"""

import copy
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

NAN = float("nan")
SIZE = {"height": 16, "width": 16}
Rng = np.random.Generator


class Expected(NamedTuple):
    """Where a fault must be found; row None: the file as a whole."""

    file: str
    row: int | None


def picture(folder: Path) -> Path:
    """A folder of images and a video that all entries share."""
    from aqa_jax.data.decode import cv2, write_video

    images = folder / "shared"
    images.mkdir(parents=True)
    frames = np.random.default_rng(0).integers(0, 255, (6, 16, 16, 3), np.uint8)
    for number, frame in enumerate(frames):
        cv2.imwrite(str(images / f"img_{number + 1:05d}.jpg"), frame)
    write_video(folder / "shared.mp4", frames)
    return images


class MtlAqa:
    """A pickle of dives and one of each split."""

    builder, options = "mtl_aqa", {"window": 4, "margin": 0, **SIZE}
    name = "augmented_final_annotations_dict.pkl"

    def __init__(self, raw: Path, rng: Rng):
        """Thirty dives."""
        keys = [(video, dive) for video in (1, 2, 3) for dive in range(1, 11)]
        fields = ("start_frame", "end_frame", "position", "armstand", "rotation_type", "ss_no", "tw_no")
        self.dives: dict[Any, dict[str, Any]] = {}
        for key in keys:
            judges = rng.integers(8, 20, 7) / 2
            score = float(np.sort(judges)[2:5].sum() * 2.5)
            self.dives[key] = dict.fromkeys(fields, 3) | {
                "judge_scores": judges.tolist(), "difficulty": 2.5, "final_score": score,
            }  # fmt: skip
            link(raw, f"frames/{key[0]:02d}_{key[1]:02d}", "shared")
        self.splits: dict[str, list[Any]] = {"train": keys[:20], "test": keys[20:]}

    def write(self, raw: Path) -> None:
        """The three files."""
        (raw / "info").mkdir(exist_ok=True)
        (raw / "info" / self.name).write_bytes(pickle.dumps(self.dives, 2))
        for split, keys in self.splits.items():
            (raw / "info" / f"{split}_split_0.pkl").write_bytes(pickle.dumps(keys, 2))

    def files(self, raw: Path) -> list[Path]:
        """All of them."""
        return [raw / "info" / name for name in (self.name, "train_split_0.pkl", "test_split_0.pkl")]

    def fault(self, rng: Rng, taken: set[int]) -> list[Expected]:
        """Puts a fault where none is yet."""
        at = free(rng, len(self.dives), taken)
        key = list(self.dives)[at]
        dive, here = self.dives[key], [Expected(self.name, at + 1)]
        kind = int(rng.integers(9))
        if kind == 0:
            dive["final_score"] = pick(rng, NAN, float("inf"), -1.0, 104.6, 1e9, "88", None, True)
        elif kind == 1:
            dive["difficulty"] = pick(rng, NAN, 0.0, -2.5, float("inf"), "2.5", None)
        elif kind == 2:
            dive["judge_scores"][int(rng.integers(7))] = pick(rng, NAN, 10.5, -0.5, 45.0, "9", None)
        elif kind == 3:
            del dive[pick(rng, "final_score", "difficulty", "position", "end_frame")]
        elif kind == 4:
            dive[pick(rng, "position", "start_frame", "tw_no")] = pick(rng, NAN, "x", 1.5, float("inf"), None, [])
        elif kind == 5:
            del dive["judge_scores"][int(rng.integers(7))]
        elif kind == 6:  # The same dive under a key that is another object, at the end.
            self.dives[str(key[0]), str(key[1])] = copy.deepcopy(dive)
            here = [Expected(self.name, len(self.dives))]
        elif kind == 7:
            split = pick(rng, "train", "test")
            self.splits[split] = [*self.splits[split], key]
            both = split == "train" and key in self.splits["test"]  # Then it is the second of the two that is named.
            row = self.splits["test"].index(key) + 1 if both else len(self.splits[split])
            here = [Expected("test_split_0.pkl" if both else f"{split}_split_0.pkl", row)]
        else:
            unknown = pick(rng, (9, 99), ("a", 1), 5, (1,), (NAN, 2))
            self.splits["test"] = [*self.splits["test"], unknown]
            here = [Expected("test_split_0.pkl", len(self.splits["test"]))]
        return here


class Pd4t:
    """A csv, or a list, of each split."""

    builder = "pd4t"

    def __init__(self, raw: Path, rng: Rng, layout: str):
        """Twenty training videos of four patients, ten test videos of two others."""
        self.layout = layout
        self.options = {"task": "finger", "layout": layout, "check_counts": False, **SIZE}
        self.lines: dict[str, list[str]] = {"train": [], "test": []}
        for number in range(30):
            patient = f"{number // 5 + 1:03d}"
            split = "train" if number < 20 else "test"
            score, visit, side = rng.integers(5), f"14-{5000 + number:06d}", "lr"[number % 2]
            if layout == "videos":
                self.lines[split].append(f"{visit}_{side}_{patient},6,{score}")
                link(raw, f"Videos/Finger tapping/{patient}/{visit}_{side}.mp4", "shared.mp4")
            else:
                self.lines[split].append(f"{visit}_{side} {score} 6 {patient}")
                link(raw, f"frames/finger/{patient}/{visit}_{side}", "shared")

    def write(self, raw: Path) -> None:
        """Both files."""
        for path, split in zip(self.files(raw), ("train", "test"), strict=True):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\n".join(self.lines[split]) + "\n")

    def files(self, raw: Path) -> list[Path]:
        """Training and test."""
        if self.layout == "videos":
            return [raw / "Annotations" / "Finger tapping" / f"{split}.csv" for split in ("train", "test")]
        return [raw / "lists" / f"finger_{split}.txt" for split in ("train", "test")]

    def fault(self, rng: Rng, taken: set[int]) -> list[Expected]:
        """Puts a fault where none is yet."""
        whole = [("train", row) for row in range(20)] + [("test", row) for row in range(10)]
        split, row = whole[free(rng, 30, taken)]
        lines, is_csv = self.lines[split], self.layout == "videos"
        cells = lines[row].split("," if is_csv else None)
        name, score, frames = (0, 2, 1) if is_csv else (0, 1, 2)
        kind = int(rng.integers(7))
        here = Expected(self.files(Path())[split == "test"].name, row + 1)
        if kind == 0:
            cells[score] = pick(rng, "nan", "5", "-1", "2.5", "", "two", "1e0", "٣", "inf") or (
                "x" if not is_csv else ""
            )
        elif kind == 1:
            cells[frames] = pick(rng, "0", "-3", "6.0", "nan", "many", "9" * 5000)
        elif kind == 2:
            cells = [*cells, "1"] if rng.integers(2) else cells[:-1]
        elif kind == 3:
            cells[name] = pick(rng, "nobody", cells[name][:9], cells[name] + "/x", "..", "a_b_c", "=1+1")
        elif kind == 4:  # The same video again, at the end.
            lines.append(lines[row])
            here = Expected(here.file, len(lines))
        elif kind == 5:  # In the other split too.
            self.lines["test" if split == "train" else "train"].append(lines[row])
            # Read second: the test file, whose line is at the end where this one is of the training.
            test = self.files(Path())[1].name
            here = Expected(test, len(self.lines["test"]) if split == "train" else row + 1)
        else:  # Another video of a training patient, in the test split.
            train = self.lines["train"][free(rng, 20, taken)]
            fresh = train.replace("14-005", "15-005", 1)
            self.lines["test"].append(fresh)
            here = Expected(self.files(Path())[1].name, len(self.lines["test"]))
            return [here]
        if kind < 4:
            lines[row] = ("," if is_csv else " ").join(cells)
        return [here]


class Jigsaws:
    """A meta file, or MUSDL's pickle; and folds."""

    builder = "jigsaws"

    def __init__(self, raw: Path, rng: Rng, layout: str):
        """Twenty trials of four surgeons."""
        self.layout, self.options = layout, {"task": "Suturing", **SIZE}
        self.ids = [f"Suturing_{surgeon}{number:03d}" for surgeon in "BCDE" for number in range(1, 6)]
        self.items: dict[str, Any] = {id_: rng.integers(1, 6, 6).tolist() for id_ in self.ids}
        self.rows: list[list[str]] = [
            [id_, "N", str(sum(items)), *map(str, items)] for id_, items in self.items.items()
        ]
        self.folds: list[list[str]] = [self.ids[k::4] for k in range(4)]
        for id_ in self.ids:
            link(raw, f"frames/{id_}_capture1", "shared")

    def write(self, raw: Path) -> None:
        """Labels and folds."""
        (raw / "info").mkdir(exist_ok=True)
        (raw / "Suturing").mkdir(exist_ok=True)
        (raw / "info" / "splits.pkl").write_bytes(pickle.dumps({"Suturing": self.folds}, 2))
        if self.layout == "meta":
            text = "\n".join("\t".join(cells) for cells in self.rows)
            (raw / "Suturing" / "meta_file_Suturing.txt").write_text(text + "\n")
        else:
            (raw / "info" / "label.pkl").write_bytes(pickle.dumps(self.items, 2))

    def files(self, raw: Path) -> list[Path]:
        """Labels and folds."""
        label = "Suturing/meta_file_Suturing.txt" if self.layout == "meta" else "info/label.pkl"
        return [raw / label, raw / "info" / "splits.pkl"]

    def fault(self, rng: Rng, taken: set[int]) -> list[Expected]:
        """Puts a fault where none is yet."""
        at, kind = free(rng, len(self.ids), taken), int(rng.integers(6))
        here = Expected(self.files(Path())[0].name, at + 1)
        place = int(rng.integers(6))
        if kind == 0:  # In a second fold too.
            fold = (at + 1) % 4
            self.folds[fold] = [*self.folds[fold], self.ids[at]]
            return [Expected("splits.pkl", max(fold, at % 4))]
        if kind == 1:
            self.folds[2] = [*self.folds[2], "Suturing_Z001"]
            return [Expected("splits.pkl", 2)]
        if self.layout == "pickle":
            items = self.items[self.ids[at]]
            if kind == 2:
                items[place] = pick(rng, NAN, 0, 6, -1, 2.5, "3", None, True)
            elif kind == 3:
                self.items[self.ids[at]] = pick(rng, items[:5], [*items, 3], None, 3, "abcdef")
            else:
                self.items = {
                    pick(rng, f"Suturing_b{at:03d}", f"Knots_B{at:03d}", at) if id_ == self.ids[at] else id_: some
                    for id_, some in self.items.items()
                }
            return [here]
        cells = self.rows[at]
        if kind == 2:
            cells[3 + place] = pick(rng, "nan", "0", "6", "x", "2.5", "٣")
        elif kind == 3:
            cells[1 + int(rng.integers(2))] = pick(rng, "31", "5", "nan", "Q", "-7")
        elif kind == 4:
            self.rows.append(list(cells))
            return [Expected(here.file, len(self.rows))]
        else:
            self.rows[at] = pick(
                rng, cells[:-1], [*cells, "1"], ["Suturing_1", *cells[1:]], ["Knot_Tying_B001", *cells[1:]]
            )
        return [here]


class Folder:
    """Anybody's videos and a csv."""

    builder, options = "folder", {"height": 16, "width": 16, "min_frames": 4}

    def __init__(self, raw: Path, rng: Rng):
        """Sixteen videos of eight subjects."""
        self.header = ["id", "score", "subject", "split"]
        self.rows = [
            [f"video_{k:02d}", str(rng.integers(20, 90)), f"s{k // 2}", "train" if k < 10 else "test"]
            for k in range(16)
        ]
        for row in self.rows:
            link(raw, f"{row[0]}.mp4", "shared.mp4")
        (raw / "shared.mp4").rename(raw / ".shared.mp4")
        for row in self.rows:
            (raw / f"{row[0]}.mp4").unlink()
            (raw / f"{row[0]}.mp4").symlink_to(raw / ".shared.mp4")

    def write(self, raw: Path) -> None:
        """The csv."""
        self.files(raw)[0].write_text("\n".join(",".join(cells) for cells in [self.header, *self.rows]) + "\n")

    def files(self, raw: Path) -> list[Path]:
        """The csv."""
        return [raw / "labels.csv"]

    def fault(self, rng: Rng, taken: set[int]) -> list[Expected]:
        """Puts a fault where none is yet; rows count as a spreadsheet does, the header being the first."""
        at = free(rng, 16, taken)
        cells, here, kind = self.rows[at], Expected("*", at + 2), int(rng.integers(5))
        if kind == 0:
            cells[1] = pick(rng, "nan", "inf", "two", "1e999", "-", "7.5.1")
        elif kind == 1:
            cells[0] = pick(rng, "no_such", "../video_00", "video_0", "/etc/passwd")
        elif kind == 2:
            cells += ["more", "cells"]
        elif kind == 3:
            cells[3] = pick(rng, "both", "0", "tset")
        else:
            self.rows.append(list(cells))
            here = Expected("*", len(self.rows) + 1)
        return [here]


def pick(rng: Rng, *values: Any) -> Any:
    """One of the values."""
    return values[int(rng.integers(len(values)))]


def free(rng: Rng, count: int, taken: set[int]) -> int:
    """A place below `count` that no fault has had."""
    place = int(rng.choice([k for k in range(count) if k not in taken]))
    taken.add(place)
    return place


def link(raw: Path, name: str, target: str) -> None:
    """`raw/name` stands for the shared folder or file."""
    path = raw / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(raw / target)
