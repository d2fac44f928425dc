import numpy as np
import pytest
from scipy.spatial import cKDTree

from aqa_jax.errors import DataError
from aqa_jax.evaluate import familiarity


def features(n, centre, seed=0, spread=0.3, channels=12):
    rng = np.random.default_rng(seed)
    return 5 * np.abs(rng.uniform(1, 2, (n, 1)) * (centre + spread * rng.standard_normal((n, channels))))


HERE = np.array([1.0] * 6 + [0.0] * 6)
ELSEWHERE = HERE[::-1]


def test_distances_are_those_of_a_search_tree():
    training, new = features(60, HERE), features(9, HERE, seed=1)
    found = familiarity.learn(training, features(30, HERE, seed=2), neighbours=4, level=0.9)

    def normalised(values):
        return values / np.linalg.norm(values, axis=1, keepdims=True)

    tree = cKDTree(normalised(training))
    np.testing.assert_allclose(found.distance(new), tree.query(normalised(new), 4)[0].mean(1), rtol=1e-5)
    # Of a feature the direction counts, not the length.
    np.testing.assert_allclose(found.distance(3 * new), found.distance(new), rtol=1e-6)
    validation = tree.query(normalised(features(30, HERE, seed=2)), 4)[0].mean(1)
    assert found.threshold == pytest.approx(np.sort(validation)[27], rel=1e-5)
    assert "30 validation videos" in found.words


def test_without_validation_each_training_video_is_left_out_in_turn():
    training = features(40, HERE)
    found = familiarity.learn(training, None, neighbours=3, level=1.0)
    unit = training / np.linalg.norm(training, axis=1, keepdims=True)
    wanted = cKDTree(unit).query(unit, 4)[0][:, 1:].mean(1).max()  # the nearest is itself
    assert found.threshold == pytest.approx(wanted, rel=1e-4)
    assert "left out in turn" in found.words
    assert "left out in turn" in familiarity.learn(training, training[:0], neighbours=3, level=1.0).words


def test_what_is_elsewhere_is_flagged_and_what_is_here_is_not():
    found = familiarity.learn(features(300, HERE), features(100, HERE, seed=1), neighbours=5, level=0.95)
    here, elsewhere = (
        found.unfamiliar(found.distance(features(400, centre, seed=2))).mean() for centre in (HERE, ELSEWHERE)
    )
    assert here == pytest.approx(0.05, abs=0.07)
    assert elsewhere > 0.95
    # A black screen may leave no feature at all.
    assert found.unfamiliar(found.distance(np.zeros((1, 12)))).all()


def test_few_training_videos_are_all_neighbours_and_one_is_too_few():
    found = familiarity.learn(features(3, HERE), features(5, HERE, seed=1), neighbours=5, level=0.99)
    assert found.neighbours == 3 and np.isfinite(found.distance(features(2, HERE, seed=2))).all()
    familiarity.learn(features(2, HERE), None, neighbours=5, level=0.99)
    with pytest.raises(DataError, match="at least 2"):
        familiarity.learn(features(1, HERE), None, neighbours=5, level=0.99)


def test_it_is_kept_in_a_file_with_its_owner_and_without_pickle(tmp_path):
    found = familiarity.learn(features(20, HERE), features(9, HERE, seed=1), neighbours=5, level=0.9)
    for name in ("a.npz", "b.npz"):
        familiarity.write(tmp_path / name, found, {"rule": "last", "step": 7, "config_hash": "abc"})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    read, owner = familiarity.read(tmp_path / "a.npz")
    assert owner == {"rule": "last", "step": 7, "config_hash": "abc"}
    np.testing.assert_array_equal(read.features, found.features)
    assert read.to_dict() == found.to_dict() and read.features.dtype == np.float32
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert not any(file[name].dtype == object for name in file.files)
    with pytest.raises(DataError, match="features of 5 channels, but 12"):
        read.distance(np.ones((1, 5)))


def test_files_that_are_not_such_are_refused_in_words(tmp_path):
    path = tmp_path / "familiarity.npz"
    with pytest.raises(DataError, match="does not exist"):
        familiarity.read(path)
    path.write_bytes(b"PK not a zip file")
    with pytest.raises(DataError, match="is damaged"):
        familiarity.read(path)
    np.savez(path, schema=np.asarray("other"))
    with pytest.raises(DataError, match=r"is no aqa_jax\.familiarity/1 file"):
        familiarity.read(path)
    np.savez(path, features=np.array([{}], object))
    with pytest.raises(DataError, match="is damaged"):
        familiarity.read(path)
