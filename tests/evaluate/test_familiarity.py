import numpy as np
import pytest
from scipy.spatial import cKDTree

from aqa_jax.errors import DataError
from aqa_jax.evaluate import familiarity


def videos(n, centre, seed=0, spread=0.3):
    """Two layers of a network, the second with other units than the first."""
    rng = np.random.default_rng(seed)
    values = np.abs(centre + spread * rng.standard_normal((n, 12)))
    return values[:, :4], 50 * values[:, 4:]


HERE = np.array([1.0] * 6 + [0.0] * 6)
ELSEWHERE = HERE[::-1]


def standardised(of, training):
    """Each part in units of the training's standard deviations, and of the same weight."""
    pairs = zip(of, training, strict=True)
    return np.concatenate([(a - t.mean(0)) / t.std(0) / np.sqrt(t.shape[1]) for a, t in pairs], 1)


def test_distances_are_those_of_a_search_tree():
    training, validation, new = videos(60, HERE), videos(30, HERE, seed=2), videos(9, HERE, seed=1)
    found = familiarity.learn(training, validation, neighbours=4, level=0.9)
    tree = cKDTree(standardised(training, training))
    wanted = tree.query(standardised(new, training), 4)[0].mean(1)
    np.testing.assert_allclose(found.distance(new), wanted, rtol=1e-3)  # but for a floor on the deviations
    of_validation = tree.query(standardised(validation, training), 4)[0].mean(1)
    assert found.threshold == pytest.approx(np.sort(of_validation)[27], rel=1e-3)
    assert "30 validation videos" in found.words
    # Two typical videos are sqrt(2) standard deviations apart in each of the two parts.
    assert 1 < np.median(wanted) < 2


def test_without_validation_each_training_video_is_left_out_in_turn():
    training = videos(40, HERE)
    found = familiarity.learn(training, None, neighbours=3, level=1.0)
    points = standardised(training, training)
    wanted = cKDTree(points).query(points, 4)[0][:, 1:].mean(1).max()  # the nearest is itself
    assert found.threshold == pytest.approx(wanted, rel=1e-3)
    assert "left out in turn" in found.words
    none = tuple(part[:0] for part in training)
    assert "left out in turn" in familiarity.learn(training, none, neighbours=3, level=1.0).words


def test_what_is_elsewhere_is_flagged_and_what_is_here_is_not():
    found = familiarity.learn(videos(300, HERE), videos(100, HERE, seed=1), neighbours=5, level=0.95)
    here, elsewhere = (
        found.unfamiliar(found.distance(videos(400, centre, seed=2))).mean() for centre in (HERE, ELSEWHERE)
    )
    assert here == pytest.approx(0.05, abs=0.07)
    assert elsewhere > 0.95
    # One layer that is elsewhere is enough, for neither outweighs the other.
    mixed = videos(50, ELSEWHERE, seed=2)[0], videos(50, HERE, seed=2)[1]
    assert found.unfamiliar(found.distance(mixed)).mean() > 0.9
    # A black screen may leave no feature at all.
    assert found.unfamiliar(found.distance(tuple(np.zeros((1, part.shape[1])) for part in mixed))).all()


def test_a_channel_that_training_never_moves_divides_nothing_by_zero():
    training = videos(30, HERE)
    training[0][:, 0] = 0.0
    found = familiarity.learn(training, videos(30, HERE, seed=1), neighbours=5, level=0.95)
    assert np.isfinite(found.distance(videos(5, HERE, seed=2))).all()
    same = tuple(np.ones((4, 3)) for _ in range(2))
    assert familiarity.learn(same, None, neighbours=2, level=0.9).threshold == 0


def test_few_training_videos_are_all_neighbours_and_one_is_too_few():
    found = familiarity.learn(videos(3, HERE), videos(5, HERE, seed=1), neighbours=5, level=0.99)
    assert found.neighbours == 3 and np.isfinite(found.distance(videos(2, HERE, seed=2))).all()
    familiarity.learn(videos(2, HERE), None, neighbours=5, level=0.99)
    with pytest.raises(DataError, match="at least 2"):
        familiarity.learn(videos(1, HERE), None, neighbours=5, level=0.99)


def test_it_is_kept_in_a_file_with_its_owner_and_without_pickle(tmp_path):
    found = familiarity.learn(videos(20, HERE), videos(9, HERE, seed=1), neighbours=5, level=0.9)
    for name in ("a.npz", "b.npz"):
        familiarity.write(tmp_path / name, found, {"rule": "last", "step": 7, "config_hash": "abc"})
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()
    read, owner = familiarity.read(tmp_path / "a.npz")
    assert owner == {"rule": "last", "step": 7, "config_hash": "abc"}
    np.testing.assert_array_equal(read.known, found.known)
    assert read.to_dict() == found.to_dict() and read.known.dtype == np.float32
    new = videos(5, ELSEWHERE)
    np.testing.assert_array_equal(read.distance(new), found.distance(new))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as file:
        assert not any(file[name].dtype == object for name in file.files)
    with pytest.raises(DataError, match="5 channels describe a video, but 12"):
        read.distance((np.ones((1, 5)),))


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
    np.savez(path, known=np.array([{}], object))
    with pytest.raises(DataError, match="is damaged"):
        familiarity.read(path)
