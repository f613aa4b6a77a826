import functools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from affectlib.models.caan import (
    CAAN,
    AttentionClusters,
    AttentionFusion,
    AverageAggregate,
    QualityAware,
    Supervised,
    aggregate,
    average_aggregate,
    dense_scores,
    emotion_loss,
    scale_maps,
    triplet_loss,
    tune_backbone,
    videos,
)
from affectlib.results import published
from affectlib.training import Samples, fit, predict

FACE, CONTEXT, CLASSES = 5, 4, 3
small = {"middle": 8, "n_classes": CLASSES, "dropout": 0.0}
MODELS = {
    "CAAN": lambda: CAAN(face=FACE, context=CONTEXT, fused=16, features=32, **small),
    "CAAN, joined": lambda: CAAN(
        face=FACE, context=CONTEXT, features=32, fusion="join", scores=1, **small
    ),
    "CAAN, scores from fusion": lambda: CAAN(
        face=FACE, context=CONTEXT, fused=16, features=32, scores_from="fusion", **small
    ),
    "CAAN without attention": lambda: CAAN(
        face=FACE, context=CONTEXT, fused=16, features=32, attention=False, **small
    ),
    "face attention": lambda: QualityAware(of="face", face=FACE, features=32, scores=2, **small),
    "context attention": lambda: QualityAware(of="context", context=CONTEXT, features=32, **small),
    "FAA": lambda: AverageAggregate(of="face", face=FACE, **small),
    "CAA": lambda: AverageAggregate(of="context", context=CONTEXT, **small),
    "FFAA": lambda: AverageAggregate(face=FACE, context=CONTEXT, **small),
    "clusters": lambda: AttentionClusters(
        face=FACE, context=CONTEXT, clusters=3, dropout=0.0, n_classes=CLASSES
    ),
}
every_model = pytest.mark.parametrize("name", MODELS)


def seeded(build, seed=0):
    torch.manual_seed(seed)
    return build()


def ragged(lengths=(4, 1, 6), *, frames=6, seed=0):
    """Inputs of videos of some lengths, the rest padding of 0."""
    generator = torch.Generator().manual_seed(seed)
    mask = (
        (torch.arange(frames) < torch.tensor(lengths)[:, None])
        .float()
        .unsqueeze(-1)
        .repeat(1, 1, 2)
    )
    return [
        torch.randn(len(lengths), frames, size, generator=generator) * mask[..., :1]
        for size in (FACE, CONTEXT)
    ] + [mask]


@pytest.fixture(scope="module")
def frames():
    """Thirty videos of 1 to 8 frames.

    Some frames show the class in the face, some in the context; some have no face.
    """
    rng = np.random.default_rng(0)
    of_face, of_context = (
        2 * rng.normal(size=(CLASSES, FACE)),
        2 * rng.normal(size=(CLASSES, CONTEXT)),
    )
    faces, contexts, classes, ids, seen = [], [], [], [], []
    for video in range(30):
        for frame in range(rng.integers(1, 9)):
            in_face, in_context = rng.random(2) < 0.7
            faces.append(of_face[video % CLASSES] * in_face + rng.normal(0, 0.5, FACE))
            contexts.append(of_context[video % CLASSES] * in_context + rng.normal(0, 0.5, CONTEXT))
            classes.append(video % CLASSES)
            ids.append(f"joy/a:b{video}:{frame:04d}")
            seen.append(video != 4 and rng.random() < 0.8)
    inputs = tuple(torch.tensor(np.array(x), dtype=torch.float32) for x in (faces, contexts))
    groups = tuple(i.rpartition(":")[0] for i in ids)
    return Samples(inputs, torch.tensor(classes), tuple(ids), groups), np.array(seen)


@pytest.fixture(scope="module")
def data(frames):
    return videos(*frames)


# the formulas, written out


def test_aggregate_is_the_weighted_mean_of_the_slow_loop():
    g, s = torch.randn(3, 5, 4), torch.rand(3, 5)
    s[1, 3:] = 0
    for video in range(3):
        for k in range(4):
            above = sum(float(g[video, i, k] * s[video, i]) for i in range(5))
            below = sum(float(s[video, i]) for i in range(5))
            assert aggregate(g, s)[video, k].item() == pytest.approx(above / below, abs=1e-5)
    assert average_aggregate(g, s > 0)[1].numpy() == pytest.approx(
        g[1, :3].mean(0).numpy(), abs=1e-6
    )


def layer(linear, x):
    """A dense layer, written out."""
    return linear.weight @ x + linear.bias


@pytest.mark.parametrize("name", ["CAAN", "CAAN, joined", "CAAN, scores from fusion"])
def test_caan_is_its_formulas(name):
    model, x = seeded(MODELS[name]).eval(), ragged()
    x[2][1, :, 1] = 0  # a video without a face
    faces, contexts, mask = x
    for video in range(3):
        above, below = torch.zeros(32), 0.0
        for i in range(6):
            if not mask[video, i, 0]:
                continue
            face = layer(model.face[0], faces[video, i]).clamp(min=0) * mask[video, i, 1]
            context = layer(model.context[0], contexts[video, i]).clamp(min=0)
            r = torch.cat([face, context])
            if name != "CAAN, joined":  # Eq. 1
                r = layer(model.fusion.fuse[0], r).clamp(min=0)
            g = layer(model.fusion.feature, r)  # Eq. 2
            h = r if name == "CAAN, scores from fusion" else g
            *hidden, last = [part for part in model.fusion.score if isinstance(part, nn.Linear)]
            for part in hidden:
                h = layer(part, h).clamp(min=0)
            s = 1 / (1 + math.exp(-layer(last, h).item()))  # Eq. 3
            above, below = above + s * g, below + s
        torch.testing.assert_close(model.embed(x)[video], above / below, atol=1e-5, rtol=1e-5)
        logits = layer(model.head, above / below)
        torch.testing.assert_close(model(x)[video], logits, atol=1e-5, rtol=1e-5)


def test_a_videos_logits_are_the_weighted_mean_of_its_frames():
    model, x = seeded(MODELS["CAAN"]), ragged()
    g, s = model.frames(x)
    torch.testing.assert_close(model(x), aggregate(model.head(g), s), atol=1e-5, rtol=1e-5)


def test_without_attention_every_frame_counts_the_same():
    model, x = seeded(MODELS["CAAN without attention"]), ragged()
    g, s = model.frames(x)
    assert s.tolist() == x[2][..., 0].tolist()
    torch.testing.assert_close(model.embed(x)[0], g[0, :4].mean(0))


def test_attention_to_one_modality_can_be_switched_off():
    model = seeded(lambda: QualityAware(of="face", face=FACE, attention=False, features=6, **small))
    x = ragged()
    g, s = model.eval().frames(x)
    assert s.tolist() == x[2][..., 0].tolist()
    torch.testing.assert_close(model.embed(x)[0], g[0, :4].mean(0))


def test_only_a_learned_fusion_mixes_face_and_context():
    """Joined, face and context add up in g; then a score alone can weigh one by the other."""
    x = [torch.randn(1, 1, size) for size in (FACE, CONTEXT)] + [torch.ones(1, 1, 2)]
    for name, adds_up in (("CAAN, joined", True), ("CAAN", False)):
        model = seeded(MODELS[name]).eval()

        def g(face, context, model=model):
            return model.frames([face * x[0], context * x[1], x[2]])[0]

        mixed = g(1, 1) - g(1, 0) - g(0, 1) + g(0, 0)
        assert (mixed.abs().max() < 1e-5) == adds_up, name


def test_average_aggregates_pool_before_their_two_layers():
    x = ragged()
    faa, ffaa = (seeded(MODELS[name]).eval() for name in ("FAA", "FFAA"))
    pooled = x[0][0, :4].mean(0)
    torch.testing.assert_close(faa.embed(x)[0], faa.dense(pooled))
    torch.testing.assert_close(faa(x)[0], faa.head(faa.dense(pooled)))
    fused = [
        torch.cat([ffaa.branches["face"](x[0][0, i]), ffaa.branches["context"](x[1][0, i])])
        for i in range(4)
    ]
    torch.testing.assert_close(ffaa.embed(x)[0], ffaa.dense(torch.stack(fused).mean(0)))


def test_attention_clusters_are_shifted_and_normalised():
    model, x = seeded(MODELS["clusters"]).eval(), ragged()
    with torch.no_grad():
        model.scale.uniform_(0.5, 2)
        model.shift.normal_()
    expected = []
    for modality, features in enumerate(x[:2]):
        for cluster in range(3):
            w, b = model.weights[modality].weight[cluster], model.weights[modality].bias[cluster]
            power = [math.exp((w @ features[0, i] + b).item()) for i in range(4)]
            v = sum(p / sum(power) * features[0, i] for i, p in enumerate(power))
            v = model.scale[modality, cluster] * v + model.shift[modality, cluster]
            expected.append(v / v.norm() / math.sqrt(3))
    torch.testing.assert_close(model.embed(x)[0], torch.cat(expected), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("layers", [1, 2, 3])
def test_scores_have_so_many_dense_layers_and_end_in_one_cell(layers):
    dense = [layer for layer in dense_scores(16, layers) if isinstance(layer, nn.Linear)]
    assert [layer.in_features for layer in dense] == [16, 8, 4][:layers] and dense[
        -1
    ].out_features == 1
    s = AttentionFusion(size=7, features=16, scores=layers)(torch.randn(2, 3, 7))[1]
    assert s.shape == (2, 3) and (s > 0).all() and (s < 1).all()
    maps = QualityAware(of="face", face=FACE, maps=16, scores=layers, middle=8, features=6)
    assert [m.out_channels for m in maps.score.maps if isinstance(m, nn.Conv2d)] == [8, 4, 2][
        :layers
    ]


def test_scores_from_maps_look_at_each_frame_alone():
    model = seeded(
        lambda: QualityAware(of="face", face=FACE, maps=6, scores=2, middle=8, features=6)
    )
    x = [*ragged(), torch.randn(3, 6, 6, 7, 7)]
    _, s = model.frames(x)
    alone = model.score.cell(model.score.maps(x[3][2, 4][None]).mean((2, 3)))
    assert s[2, 4].item() == pytest.approx(alone.item(), abs=1e-6)
    assert not s[0, 4:].any()
    torch.testing.assert_close(model.frames([*x[:3], x[3].half()])[1], s, atol=1e-3, rtol=1e-3)


def test_maps_of_faces_come_before_those_of_contexts(frames):
    rows, seen = frames
    maps = [
        torch.randn(len(rows), 6, 7, 7, generator=torch.Generator().manual_seed(k))
        for k in range(2)
    ]
    data = videos(Samples((*rows.inputs, *maps), rows.target, rows.ids, rows.groups), seen)
    x = data.take(range(len(data)))
    for of, place, other in (("face", 3, 4), ("context", 4, 3)):
        model = seeded(
            lambda of=of: QualityAware(
                of=of, face=FACE, context=CONTEXT, maps=6, middle=8, features=6
            )
        )
        s = model.frames(x)[1]
        moved = [*x]
        moved[other] = moved[other] + 1
        assert torch.equal(model.frames(moved)[1], s)
        moved[place] = moved[place] + 1
        assert not torch.allclose(model.frames(moved)[1], s)


def test_videos_hold_their_frames_once(frames):
    rows, seen = frames
    maps = torch.randn(len(rows), 6, 3, 3).half()
    data = videos(replace(rows, inputs=(*rows.inputs, maps)), seen)
    _, contexts, _, maps_of_videos = data.select([0, 3]).inputs
    assert contexts is rows.inputs[1] and maps_of_videos is maps
    # A face that is not seen is 0 in the videos, and stays as it was in the frames.
    assert not data.inputs[0][~np.asarray(seen)].any()
    assert rows.inputs[0][~np.asarray(seen)].any()


def test_maps_are_divided_by_one_deviation_of_the_training_frames():
    maps = torch.rand(100, 4, 3, 3).half()
    before = maps.clone()
    train = np.arange(10, 90)
    scale_maps(maps, train)
    deviation = np.std(before.numpy()[train].astype(float), ddof=1)
    assert maps.numpy() == pytest.approx(before.numpy() / deviation, rel=2e-3)


def test_triplet_loss_is_its_formula():
    truth = torch.tensor([0, 0, 1, 1, 1, 2])
    video = torch.randn(6, 4, generator=torch.Generator().manual_seed(1))
    unit = [v / v.norm() for v in video]
    squared = [[float((a - b) @ (a - b)) for b in unit] for a in unit]
    losses = []
    for a in range(5):  # class 2 has no positive
        positive = max(squared[a][b] for b in range(6) if truth[b] == truth[a] and b != a)
        negative = min(squared[a][b] for b in range(6) if truth[b] != truth[a])
        losses.append(max(positive - negative + 0.2, 0))
    assert float(triplet_loss(truth, video)) == pytest.approx(sum(losses) / 5, abs=1e-6)
    assert float(triplet_loss(truth[:2], video[:2])) == 0  # no negative


def test_emotion_loss_counts_every_frame_once_and_padding_never():
    model, x, truth = seeded(MODELS["CAAN"]), ragged(), torch.tensor([0, 2, 0])
    outputs = Supervised(model)(x)
    rows = [(video, i) for video in range(3) for i in range(6) if x[2][video, i, 0]]
    softmax = [-outputs.logits[video, i].log_softmax(0)[truth[video]].item() for video, i in rows]
    expected = (
        sum(softmax) / len(rows) + 0.5 * triplet_loss(truth, model.embed(x), margin=0.4).item()
    )
    assert emotion_loss(truth, outputs, margin=0.4, triplet=0.5).item() == pytest.approx(
        expected, abs=1e-5
    )


# ragged videos


@every_model
def test_padding_changes_nothing(name):
    model, x = seeded(MODELS[name]).eval(), ragged()
    longer = [torch.cat([part, torch.full((3, 5, part.shape[-1]), 0.0)], 1) for part in x]
    longer[0][:, 6:], longer[1][:, 6:] = 7.0, -7.0
    torch.testing.assert_close(model(longer), model(x), atol=1e-5, rtol=1e-5)
    alone = model([part[1:2, :1] for part in x])
    torch.testing.assert_close(model(x)[1:2], alone, atol=1e-5, rtol=1e-5)
    if hasattr(model, "frames"):
        losses = [
            emotion_loss(torch.tensor([0, 1, 0]), Supervised(model)(part)) for part in (x, longer)
        ]
        torch.testing.assert_close(*losses)


@every_model
def test_a_video_without_any_frame_is_refused(name):
    x = ragged()
    x[2][1] = 0
    with pytest.raises(ValueError, match=r"no frame counts in the videos \[1\]"):
        seeded(MODELS[name])(x)
    with pytest.raises(ValueError, match=r"videos \[0\]"):
        average_aggregate(torch.ones(2, 3, 4), torch.tensor([[0, 0, 0], [0, 1, 0]]))


@pytest.mark.parametrize("name", ["CAAN", "CAAN, joined", "face attention", "context attention"])
def test_scores_that_underflow_are_equal(name):
    model, x = seeded(MODELS[name]), ragged()
    last = [
        layer
        for layer in model.modules()
        if isinstance(layer, nn.Linear) and layer.out_features == 1
    ][-1]
    nn.init.constant_(last.bias, -200.0)
    g, s = model.frames(x)
    assert s[0].tolist() == pytest.approx([1e-12] * 4 + [0] * 2) and model(x).isfinite().all()
    torch.testing.assert_close(model.embed(x)[0], g[0, :4].mean(0))


def test_without_a_face_the_context_alone_decides():
    x = ragged()
    x[2][2, :, 1] = 0
    for name in ("CAAN", "FFAA", "clusters"):
        model = seeded(MODELS[name]).eval()
        others = [x[0] + torch.tensor([0.0, 0.0, 5.0])[:, None, None], *x[1:]]
        torch.testing.assert_close(model(others), model(x))
        moved = [x[0], x[1] + torch.tensor([0.0, 0.0, 5.0])[:, None, None], x[2]]
        assert not torch.allclose(model(moved)[2], model(x)[2])


def test_videos_keep_frames_with_a_face_or_all(frames, data):
    rows, seen = frames
    assert len(data) == 30 and data.ids[4] == "joy/a:b4" and data.target.dtype == torch.long
    faces, contexts, mask = data.take(range(30))
    for video in range(30):
        of_video = [i for i, group in enumerate(rows.groups) if group == data.ids[video]]
        kept = [i for i in of_video if seen[i]] or of_video
        assert int(mask[video, :, 0].sum()) == len(kept)
        assert int(mask[video, :, 1].sum()) == seen[of_video].sum()
        torch.testing.assert_close(contexts[video, : len(kept)], rows.inputs[1][kept])
        torch.testing.assert_close(
            faces[video, : len(kept)], rows.inputs[0][kept] * float(seen[of_video].any())
        )
        assert not contexts[video, len(kept) :].any() and data.target[video] == video % CLASSES
    assert int(mask[4, :, 1].sum()) == 0 and int(mask[4, :, 0].sum()) > 0


def test_videos_refuse_what_does_not_fit(frames):
    rows, seen = frames
    with pytest.raises(ValueError, match="seen has 3 rows"):
        videos(rows, seen[:3])
    mixed = torch.arange(len(rows)) % 2
    with pytest.raises(ValueError, match="joy/a:b"):
        videos(Samples(rows.inputs, mixed, rows.ids, rows.groups), seen)


# training


@every_model
def test_learns_and_repeats_under_a_seed(name, data):
    def trained(epochs):
        model = seeded(MODELS[name])
        options = {"epochs": epochs, "batch_size": 15, "learning_rate": 0.02, "seed": 1}
        history = fit(Supervised(model), data, data, loss=emotion_loss, **options)
        return history.epochs, predict(model, data)

    epochs, found = trained(40)
    assert found.prediction.shape == (30, CLASSES) and np.isfinite(found.prediction).all()
    assert np.mean(found.prediction.argmax(1) == found.truth) > 0.8
    again, _ = trained(8)
    assert again.equals(epochs.iloc[:8])


def test_attention_falls_on_frames_that_tell_nothing():
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(60) % CLASSES
    tells = (torch.rand(60, 6, generator=generator) < 0.5).float()
    tells[:, 0] = 1
    face = 2 * torch.eye(CLASSES, FACE)[truth][:, None] * tells[..., None]
    face = face + 0.3 * torch.randn(60, 6, FACE, generator=generator)
    x = (face, torch.randn(60, 6, CONTEXT, generator=generator), torch.ones(60, 6, 2))
    names = tuple(map(str, range(60)))
    data, model = Samples(x, truth, names, names), seeded(MODELS["CAAN"])
    fit(
        Supervised(model),
        data,
        data,
        loss=emotion_loss,
        epochs=60,
        batch_size=30,
        learning_rate=0.01,
    )
    s = model.frames(x)[1].detach()
    assert s[tells == 1].mean() > 1.1 * s[tells == 0].mean()


@pytest.mark.parametrize(
    ("build", "words"),
    [
        (lambda: CAAN(scores=4), "1, 2 or 3"),
        (lambda: CAAN(fusion="sum"), "fusion is one of dense, join, not 'sum'"),
        (lambda: CAAN(scores_from="face"), "scores_from is one of emotion, fusion, not 'face'"),
        (lambda: QualityAware(of="both"), "face, context, not 'both'"),
        (lambda: AverageAggregate(of="voice"), "face, context, both, not 'voice'"),
        (lambda: QualityAware(maps=8, scores=0), "1, 2 or 3"),
    ],
)
def test_refuses_what_is_not_there(build, words):
    with pytest.raises(ValueError, match=words):
        build()


def test_sizes_are_the_papers():
    model = CAAN()
    assert model.face[0].weight.shape == model.context[0].weight.shape == (1024, 4096)
    assert model.fusion.fuse[0].weight.shape == (2048, 2048)
    assert model.fusion.feature.weight.shape == (1024, 2048) and model.head.out_features == 7
    joined = CAAN(fusion="join")
    assert joined.fusion.feature.weight.shape == (1024, 2048)
    from_fusion = CAAN(scores_from="fusion", scores=1)
    assert from_fusion.fusion.score[0].weight.shape == (1, 2048)
    maps = QualityAware(of="face", maps=512, scores=1)
    assert maps.score.maps[0].in_channels == 512


# the first stage


class TinyVGG(nn.Module):
    """The layout of a VGG in small: convolutions, pooling, fc6."""

    def __init__(self):
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 4, 3, padding=1),
            nn.ReLU(),
            nn.MaxPool2d(2),
            nn.Conv2d(4, 6, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(2),
        )
        self.fc6 = nn.Linear(24, 10)

    def embed(self, x):
        return self.fc6(self.features(x).flatten(1)).relu()


def test_tuning_changes_every_layer_of_a_backbone_and_learns_frames():
    generator = torch.Generator().manual_seed(0)
    truth = torch.arange(80) % 2
    pictures = torch.randint(0, 120, (80, 8, 8, 3), generator=generator, dtype=torch.uint8)
    pictures[truth == 1, :, :, 0] += 100
    names = tuple(map(str, range(80)))
    data = Samples((pictures,), truth, names, names)
    network = seeded(TinyVGG)
    before = [p.clone() for p in network.parameters()]
    tune = functools.partial(
        tune_backbone, fit=fit, size=10, n_classes=2, epochs=25, batch_size=20, learning_rate=0.01
    )
    history = tune(network, data.select(range(60)), data.select(range(60, 80)))
    assert all(
        not torch.equal(old, new) for old, new in zip(before, network.parameters(), strict=True)
    )
    assert history.epochs["validation_loss"].min() < 0.4
    again = seeded(TinyVGG)
    tune(again, data.select(range(60)), data.select(range(60, 80)))
    assert all(
        torch.equal(a, b) for a, b in zip(network.parameters(), again.parameters(), strict=True)
    )


# the published tables


def test_published_confusion_gives_the_published_accuracy_and_the_size_of_the_test_set():
    shares = published("caan", 5).pivot(index="row", columns="column", values="value")
    assert shares.shape == (7, 7) and shares.sum(1).to_numpy() == pytest.approx(1, abs=2e-4)
    counts = {
        row: next(
            n
            for n in range(20, 200)
            if all(abs(v * n - round(v * n)) < 0.0101 * n / 100 for v in values)
        )
        for row, values in zip(shares.index, shares.to_numpy(), strict=True)
    }
    assert sum(counts.values()) == 405
    right = sum(round(counts[name] * shares.loc[name, name]) for name in counts)
    assert right / 405 == pytest.approx(0.5185, abs=5e-5)


def test_published_tables_agree_with_each_other_and_the_text():
    two, three, four, six = (
        published("caan", n).set_index(["row", "column"])["value"] for n in (2, 3, 4, 6)
    )
    best = {"Face": "1FC", "Context": "3FC", "Fusion": "3FC"}
    for row, layers in best.items():
        assert three[row, "attention_accuracy"] == two[layers, f"{row.lower()}_accuracy"]
    gains = [three[row, "attention_accuracy"] - three[row, "average_accuracy"] for row in best]
    assert gains == pytest.approx([0.0543, 0.0222, 0.0494])
    assert four["CAAN", "heiv_accuracy"] - four[
        "Attention clusters", "heiv_accuracy"
    ] == pytest.approx(0.0222)
    ours = six["CAAN", "ekman6_accuracy"] - six["Concept selection (Xu et al.)", "ekman6_accuracy"]
    assert ours == pytest.approx(0.0183)
    assert published("caan", 1)["value"].sum() == 1016  # the text says 1012
    assert (
        len(published("caan", 2)) == 9
        and len(published("caan", 4)) == 7
        and len(published("caan", 6)) == 10
    )


def test_the_paper_ran_its_rivals_on_heiv_itself_and_quotes_those_of_the_other_corpora():
    assert not published("caan", 4)["quoted"].any()
    six = published("caan", 6)
    assert (six["quoted"] == (six["row"] != "CAAN")).all()


def test_accuracies_on_heiv_are_whole_numbers_of_405_videos():
    two = published("caan", 2).set_index(["row", "column"])["value"] * 405
    assert [round(two[f"{n}FC", "fusion_accuracy"]) for n in (1, 2, 3)] == [204, 207, 210]
    four = published("caan", 4).set_index("row")["value"] * 405
    rivals = ["Fan et al.", "Vielzeuf et al.", "Chen et al.", "Kosti et al."]
    assert [round(four[name]) for name in rivals] == [185, 186, 187, 188]
    assert all(abs(value - round(value)) < 0.05 for value in [*two, *four])
