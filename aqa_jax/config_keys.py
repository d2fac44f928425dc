"""Every key of a run: its default, its meaning, its bounds."""

import dataclasses
from typing import Any

# The scoring methods; a name with a colon is a head of somebody's own, as package.module:make_head.
HEAD_NAMES = ("regression", "usdl", "musdl", "dae", "dae_mt", "dae_judges", "core", "dae_core")
# The backbone's Inception modules.
BLOCKS = tuple(f"Mixed_{name}" for name in ("3b", "3c", "4b", "4c", "4d", "4e", "4f", "5b", "5c"))


def _key(default: Any, doc: str, *, choices: tuple = (), low: float | None = None, high: float | None = None) -> Any:
    metadata = {"doc": doc, "choices": choices, "low": low, "high": high}
    if dataclasses.is_dataclass(default):
        return dataclasses.field(default_factory=lambda: default, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


@dataclasses.dataclass(frozen=True)
class DataConfig:
    """Which videos, which frames of them, and how they are cropped."""

    builder: str = _key("synthetic_dives", "a folder of data_builders/")
    options: str = _key("", "options of the builder, as key=value,key=value")
    base_options: str = _key("", "the same, from the config file: they stay unless config.data.options changes them")
    data_dir: str = _key("data", "where built datasets lie")
    raw_dir: str = _key("", "the raw videos or frames and annotations, for building")
    window: int = _key(103, "frames of an action that the model sees", low=1)
    window_mode: str = _key(
        "consecutive",
        "the window's frames: consecutive ones, or spread evenly over the whole video (linspace)",
        choices=("consecutive", "linspace"),
    )
    clip_length: int = _key(16, "frames of one clip through the backbone", low=1)
    clip_starts: tuple[int, ...] = _key(
        (0, 10, 20, 30, 40, 50, 60, 70, 80, 87), "first frame of each clip in the window"
    )
    clip_stride: int = _key(1, "from one frame of a clip to its next", low=1)
    max_shift: int = _key(6, "random temporal shift of the window in training: 0 to this many frames", low=0)
    crop: int = _key(224, "side of the square crop, in pixels", low=8)
    random_crop: bool = _key(False, "crop anywhere in training; in the centre otherwise")
    flip: bool = _key(True, "random horizontal flip in training")
    normalisation: str = _key("imagenet", "of RGB values", choices=("imagenet", "minus_one_to_one"))
    shuffle_time: bool = _key(False, "shuffle the frames of every window: a control, the score must need the motion")
    still: bool = _key(False, "every frame of a clip is its first: a control, nothing that needs time can be told")
    training_split: str = _key(
        "train", "splits of the dataset to train on, joined by +, as in train+unlabelled; all: all but the test split"
    )
    test_where: str = _key(
        "",
        "test on the videos of the training split with this value of a column, as fold=0 or group=B+C, and train on "
        "the others; empty: the dataset's own test split",
    )
    exclude: str = _key(
        "",
        "ids of videos to leave out of every split, joined by commas, or @FILE with one a line; recorded in every "
        "result",
    )
    allow_pretraining_overlap: bool = _key(
        False, "test on groups (patients, ...) or videos that the initial weights were trained on; else refused"
    )
    validation_fraction: float = _key(
        0.1, "share of the training split held out to choose the epoch", low=0.0, high=0.9
    )
    validation_by: str = _key(
        "group", "hold out whole groups (athlete, patient, competition) or single videos", choices=("group", "video")
    )
    repeats: int = _key(1, "times that an epoch goes through the training videos (PECoP: 20)", low=1)
    threads: int = _key(0, "reader threads; 0 for one per core", low=0)
    cache_mb: int = _key(
        -1,
        "megabytes of decoded frames kept in memory: those of evaluated videos, and of training videos too where "
        "all fit; 0: none; -1: up to a quarter of the memory that is free at the start",
        low=-1,
    )


@dataclasses.dataclass(frozen=True)
class ModelConfig:
    """The backbone."""

    dialect: str = _key(
        "piergiaj", "conventions of the weight file", choices=("hassony2", "pecop", "piergiaj", "deepmind")
    )
    width: float = _key(1.0, "multiplier of every channel count", low=0.02, high=4.0)
    final_endpoint: str = _key(
        "Mixed_5c",
        "the last Inception module, whose pooled activation is the feature; an earlier one makes a smaller network",
        choices=BLOCKS,
    )
    weights: str = _key(
        "",
        "initial weights: a .pt/.pth, TensorFlow or safetensors file; starter: the small one included; empty: random",
    )
    batch_norm: str = _key(
        "frozen", "statistics in training: the running ones, kept (DAE), or the batch's", choices=("frozen", "batch")
    )
    dtype: str = _key("auto", "compute dtype; auto: bfloat16 on GPU and TPU", choices=("auto", "float32", "bfloat16"))
    kernels: str = _key("auto", "form of the 3-D operations; auto: by platform", choices=("auto", "plain", "cpu"))


@dataclasses.dataclass(frozen=True)
class AdapterConfig:
    """What is added to the backbone, to train a few parameters instead of all."""

    kind: str = _key(
        "none", "3d: PECoP's 3D-Adapters; lora: low-rank updates of the convolutions", choices=("none", "3d", "lora")
    )
    blocks: tuple[str, ...] = _key(BLOCKS, "Inception modules that get one")
    ratio: int = _key(4, "3d: channels of a block per channel of the bottleneck", low=1)
    zero_scale: bool = _key(False, "3d: start as the identity; False: scales of 1, as published")
    depthwise: bool = _key(False, "3d: 1x1x1 then depthwise 3x3x3 in the bottleneck, instead of one grouped 3x3x3")
    rank: int = _key(4, "lora: rank of an update", low=1)
    file: str = _key("", "an adapter file to start from: adapters and running statistics for config.model.weights")


@dataclasses.dataclass(frozen=True)
class VsppConfig:
    """PECoP's pretext task: one segment of a clip is played at another pace; which one, and at what pace?"""

    segments: int = _key(4, "equal segments of a clip", low=2)
    base_step: int = _key(1, "frames that the other segments advance by (PECoP: 3 for gait)", low=1)
    paces: tuple[int, ...] = _key((1, 2, 3, 4, 5), "frames that the segment may advance by; base_step is left out")
    faithful: bool = _key(False, "as PECoP's code: 9 fast frames of 8, clips that run over the video's end, 5 classes")
    dropout: float = _key(0.5, "of the features, before both heads", low=0.0, high=0.95)
    colour_jitter: float = _key(0.0, "brightness, contrast and saturation change by up to this share", low=0, high=0.9)


@dataclasses.dataclass(frozen=True)
class HeadConfig:
    """The scoring method."""

    name: str = _key(
        "dae", f"{', '.join(HEAD_NAMES)} (docs/heads.md), or a head of your own, as package.module:make_head"
    )
    hidden: tuple[int, ...] = _key((256, 128), "widths of the two hidden layers")
    dropout: float = _key(
        0.0, "of the features before the head, in training (and evaluate.mc_samples)", low=0, high=0.95
    )
    times_difficulty: bool = _key(
        True, "musdl, dae_judges, core, dae_core: the judges' part is regressed, times the given difficulty"
    )
    target: str = _key(
        "score",
        "dae_mt: train on the final score, or on the judges' marks times difficulty",
        choices=("score", "judges"),
    )
    panel: str = _key(
        "middle3",
        "how marks make a score: the middle three of seven are added (diving), or all (JIGSAWS's items)",
        choices=("middle3", "sum"),
    )
    loss: str = _key(
        "likelihood",
        "of the dae heads: alpha (y-mu)^2/sigma^2 + beta log sigma^2; beta_nll: times sigma^(2 beta_nll) besides; "
        "detached: the squared error for mu, the likelihood for sigma alone; a released loss, which shrinks sigma to 0",
        choices=("likelihood", "beta_nll", "detached", "released_2021", "released_2023"),
    )
    alpha: float = _key(0.6, "weight of the squared error in the likelihood loss", low=0.0)
    beta: float = _key(0.4, "weight of the log variance in the likelihood loss", low=0.0)
    beta_nll: float = _key(
        0.5, "beta_nll: 0 is the likelihood, 1 weighs errors as the squared error does", low=0, high=1
    )
    spread_weight: float = _key(
        0.0, "dae_mt: weight of the judges' spread as a second signal for sigma; 0: not used", low=0.0
    )
    model_error: str = _key(
        "per_video",
        "dae_judges, dae_mt with spread_weight: the model's own error beside the judges' noise is learnt for each "
        "video, or is one number (few data do not tell more)",
        choices=("per_video", "one"),
    )
    sigma_floor: float = _key(0.05, "added in quadrature to sigma, as a share of the training scores' spread", low=0.0)
    standardise: bool = _key(True, "the network's outputs are in units of the training scores' mean and spread")
    warmup_fraction: float = _key(0.0, "share of the training with squared error alone", low=0.0, high=1.0)
    mse_weight: float = _key(
        0.0, "weight of the squared error beside the likelihood, after the warm-up", low=0.0, high=1.0
    )
    bins: int = _key(101, "usdl, musdl: bins of the label distribution", low=2)
    lowest: float = _key(0.0, "usdl, musdl: score (musdl: mark) of the first bin")
    highest: float = _key(104.5, "usdl, musdl: score (musdl: mark) of the last bin")
    label_std: float = _key(5.0, "usdl, musdl: standard deviation of the soft label, in bins", low=0.01)
    sharpen: bool = _key(
        True, "usdl, musdl: the soft label's own spread is taken out of the predicted distribution; its mode stays"
    )
    exemplars: int = _key(10, "core, dae_core: training videos that vote on a score", low=1)
    exemplars_by: str = _key(
        "difficulty",
        "core, dae_core: exemplars share this with the video that is scored, or are drawn at random, the same for all",
        choices=("difficulty", "dive_number", "random"),
    )
    pool: int = _key(600, "core, dae_core: training videos at most that are kept as exemplars", low=1)
    depth: int = _key(5, "core: levels of the tree; 2^(depth-1) leaves", low=2, high=8)
    score_scale: float = _key(
        30.0,
        "core, dae_core: the exemplar's score is divided by this (CoRe's theta), and here the last leaf ends: as large "
        "as scores (core with times_difficulty: score / difficulty) can be",
        low=0.01,
    )


@dataclasses.dataclass(frozen=True)
class MotionConfig:
    """The regression of rendered motion's parameters that makes the starter backbone."""

    columns: tuple[str, ...] = _key((), "columns of the dataset to regress")


@dataclasses.dataclass(frozen=True)
class OptimizerConfig:
    """The optimizer, as optax has it."""

    name: str = _key(
        "adam", "adam (weight decay coupled, as torch's), adamw (decoupled), sgd", choices=("adam", "adamw", "sgd")
    )
    learning_rate: float = _key(1e-4, "peak learning rate", low=0.0)
    head_multiplier: float = _key(1.0, "learning rate of the head relative to the backbone's", low=0.0)
    weight_decay: float = _key(1e-5, "L2 penalty", low=0.0)
    momentum: float = _key(0.9, "of sgd", low=0.0, high=1.0)
    schedule: str = _key("constant", "after the warm-up", choices=("constant", "cosine"))
    final_fraction: float = _key(
        0.0, "learning rate at the end of the cosine, as a share of the peak", low=0.0, high=1.0
    )
    cosine_length: float = _key(
        1.0, "length of the cosine as a multiple of the training's; above 1 it is cut short (PECoP: 22 / 8)", low=1.0
    )
    warmup_steps: int = _key(0, "linear warm-up from 0", low=0)
    clip_norm: float = _key(0.0, "global norm that the trainable gradient is clipped to; 0: none", low=0.0)
    accumulate: int = _key(1, "batches per update", low=1)


@dataclasses.dataclass(frozen=True)
class TrainConfig:
    """The loop."""

    batch_size: int = _key(8, "videos a step, over all devices and hosts", low=1)
    epochs: float = _key(
        100.0,
        "passes over the training videos (core, dae_core: each as the first of a pair); ignored if steps is set",
        low=0.0,
    )
    steps: int = _key(0, "steps; 0: as epochs says", low=0)
    trainable: str = _key(
        "all",
        "what is trained beside the head: all, nothing (head), adapters, norm (scales and shifts), bias",
        choices=("all", "head", "adapters", "norm", "bias"),
    )
    remat: str = _key(
        "none",
        "for small memories: blocks keeps only what goes from layer to layer for the backward pass and makes the rest "
        "again; the gradient stays the same",
        choices=("none", "blocks"),
    )
    clip_chunk: int = _key(
        0,
        "for small memories: clips through the backbone at a time on each device, with the gradient of all at once; "
        "needs model.batch_norm=frozen; 0: all",
        low=0,
    )
    cpu_devices: int = _key(
        0,
        "without a GPU: devices that this host's cores are taken for, which share a batch; 0: one a core where it is "
        "quicker, eight at most (docs/speed.md)",
        low=0,
    )
    evaluate_every: int = _key(0, "steps between evaluations, each followed by a checkpoint; 0: every epoch", low=0)
    checkpoint_every: int = _key(0, "steps between further checkpoints; 0: none", low=0)
    log_every: int = _key(10, "steps between lines of the log", low=1)


@dataclasses.dataclass(frozen=True)
class EvaluateConfig:
    """The figures at the end."""

    batch_size: int = _key(0, "videos a step; 0: as in training", low=0)
    views: int = _key(1, "temporal shifts per video, averaged", low=1)
    point: str = _key(
        "mean",
        "predict the mean, the mode (as USDL, MUSDL and CoRe do), or one sample (as DAE's release does)",
        choices=("mean", "mode", "sample"),
    )
    mc_samples: int = _key(
        0, "Monte-Carlo dropout: passes of the head with config.head.dropout, combined; 0: none", low=0
    )
    recalibration: str = _key(
        "validation",
        "sigma and intervals are corrected by what the validation split says; without one they are raw, and named so",
        choices=("validation", "none"),
    )
    familiarity_neighbours: int = _key(
        5,
        "a video is as unfamiliar as its features are far from those of this many training videos; 0: not judged",
        low=0,
    )
    familiarity_level: float = _key(0.99, "share of the validation videos that count as familiar", low=0.5, high=1.0)
    selection: str = _key(
        "best_on_validation", "the checkpoint that predictions and headline figures come from",
        choices=("best_on_validation", "last", "best_on_test"),
    )  # fmt: skip
    track_test: bool = _key(False, "evaluate the test split at every evaluation too, for the papers' best_on_test")
    bootstrap: int = _key(1000, "resamples behind the confidence intervals", low=0)


@dataclasses.dataclass(frozen=True)
class CrossvalConfig:
    """--mode crossval: one run a fold and seed."""

    protocol: str = _key(
        "",
        "partitions that the dataset names (jigsaws: fourfold, loso, louo), or a column, each value of which is a "
        "fold; empty: the dataset's own test split, over seeds alone",
    )
    seeds: int = _key(1, "runs a fold: config.seed and the next ones", low=1)


@dataclasses.dataclass(frozen=True)
class PredictConfig:
    """Scoring files."""

    batch_size: int = _key(0, "videos scored at once; 0: 1 on a CPU, 4 elsewhere", low=0)
    clips: int = _key(0, "clips through the backbone at once, on each device; 0: 1 on a CPU, 16 elsewhere", low=0)
    dtype: str = _key(
        "auto",
        "the backbone's when files are scored; auto: as config.model.dtype says",
        choices=("auto", "float32", "bfloat16"),
    )
    check: bool = _key(False, "score every video by the plain float32 model too, and report the largest difference")
    difficulty: float = _key(0.0, "difficulty of the action, where the head needs it (dae_mt); 0: not given", low=0.0)
    extras: str = _key(
        "",
        "what else each video gets, separated by commas, or all: video (annotated), distribution, keyframes, why, "
        "report; empty: nothing",
    )
    resume: bool = _key(False, "go on with the --output of a call that was cut off, if model, settings and files agree")
    keep: bool = _key(True, "keep what scores, weights included, in the cache folder: a later call starts sooner")
    camera_seconds: float = _key(5.0, "length of the take of --input camera", low=0.1, high=600.0)
    samples: int = _key(0, "after training, render this many unseen videos to files and score them", low=0)
    allow_own_head: bool = _key(
        False, "import the head of its own (package.module:make_head) that a bundle names: code on this machine"
    )
    decode_seconds: float = _key(
        120.0, "a file is decoded in a process of its own, which is ended after this time", low=1.0
    )
    decode_mb: int = _key(768, "megabytes that decoding one file may take, beyond what the libraries take", low=64)


@dataclasses.dataclass(frozen=True)
class ExportConfig:
    """--mode export: what goes into a bundle beside the model."""

    familiarity: bool = _key(
        True, "features of up to 2,000 training videos, without names, that unfamiliar videos are told by"
    )
    training_scores: bool = _key(True, "the training videos' scores, without names; the range of them is always in")
    fingerprints: bool = _key(
        False, "fingerprints of training groups and videos: who knows a name can tell whether it was trained on"
    )
    licence: str = _key("", "what the weights may be used for, in a line of the model card; empty: none is stated")
    stablehlo: bool = _key(False, "the model as a program that needs jax alone (docs/share.md); doubles the size")


@dataclasses.dataclass(frozen=True)
class ReportConfig:
    """What may stand in an HTML report, which is passed on more easily than the videos."""

    thumbnails: bool = _key(True, "pictures of the videos")
    names: bool = _key(True, "names of files, and ids and groups (patients, athletes) as in the dataset")


@dataclasses.dataclass(frozen=True)
class ServeConfig:
    """--mode serve: a page on this machine that scores a video."""

    port: int = _key(8321, "of http://127.0.0.1; 0: any that is free", low=0, high=65535)
    max_mb: int = _key(200, "megabytes of a video at most", low=1)
    max_seconds: float = _key(120.0, "that a video may take, from its arrival to its report", low=1.0)
    keep: bool = _key(False, "keep every video with its report in WORKDIR/served; else nothing is kept")


@dataclasses.dataclass(frozen=True)
class Config:
    """All keys."""

    task: str = _key(
        "score",
        "score: videos to scores; vspp: PECoP's pretext task, without labels; motion: rendered motion",
        choices=("score", "vspp", "motion"),
    )
    seed: int = _key(0, "of initial weights, order, augmentation, sampling and the validation split", low=0)
    data: DataConfig = _key(DataConfig(), "")
    model: ModelConfig = _key(ModelConfig(), "")
    adapter: AdapterConfig = _key(AdapterConfig(), "")
    vspp: VsppConfig = _key(VsppConfig(), "")
    head: HeadConfig = _key(HeadConfig(), "")
    motion: MotionConfig = _key(MotionConfig(), "")
    optimizer: OptimizerConfig = _key(OptimizerConfig(), "")
    train: TrainConfig = _key(TrainConfig(), "")
    evaluate: EvaluateConfig = _key(EvaluateConfig(), "")
    crossval: CrossvalConfig = _key(CrossvalConfig(), "")
    predict: PredictConfig = _key(PredictConfig(), "")
    report: ReportConfig = _key(ReportConfig(), "")
    serve: ServeConfig = _key(ServeConfig(), "")
    export: ExportConfig = _key(ExportConfig(), "")
