"""The papers' own networks, with the parameter names of the released weights.

Each has ``embed(x) -> (batch, size)``. What reads a file of weights calls ``released(state)`` where a network has it:
it gives the parameters of the file the names, and the selection, that the network has; ``filed(name, state)`` says
what that file calls one of them.

References:
    Hershey et al. (2017), CNN architectures for large-scale audio classification, ICASSP: VGGish.
    Carreira and Zisserman (2017), Quo vadis, action recognition?, CVPR: I3D. Dosovitskiy et al. (2015), FlowNet, ICCV.
    Cao et al. (2018), OpenPose, arXiv:1812.08008. He et al. (2016), ResNet, CVPR. Szegedy et al. (2016), Inception-v3,
    CVPR. Simonyan and Zisserman (2015), VGG, ICLR. Parkhi et al. (2015), VGG-Face, BMVC. Zhou et al. (2018),
    Places365, TPAMI. Chollet (2017), Xception, CVPR.
"""

from collections import OrderedDict
from itertools import pairwise
from types import MethodType

import torch
from torch import nn
from torch.nn import functional as F

VGG16 = (64, 64, "M", 128, 128, "M", 256, 256, 256, "M", 512, 512, 512, "M", 512, 512, 512, "M")


def _stack(widths, channels):
    """Convolutions of 3 x 3 with ReLU, and pooling by 2 where it says M."""
    layers = []
    for width in widths:
        if width == "M":
            layers.append(nn.MaxPool2d(2))
        else:
            layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU(inplace=True)]
            channels = width
    return nn.Sequential(*layers)


def _dense(*sizes):
    return nn.Sequential(
        *(layer for a, b in pairwise(sizes) for layer in (nn.Linear(a, b), nn.ReLU(inplace=True)))
    )


class VGGish(nn.Module):
    """Sound to 128 values per 0.96 s, after the last ReLU.

    Shape:
        embed ``(batch, 96, 64)`` log-mel examples, see :func:`affectlib.features.audio.vggish_examples`, to
        ``(batch, 128)``
    """

    def __init__(self):
        super().__init__()
        self.features = _stack((64, "M", 128, "M", 256, 256, "M", 512, 512, "M"), 1)
        self.embeddings = _dense(512 * 4 * 6, 4096, 4096, 128)

    def embed(self, x):
        x = self.features(x[:, None])  # (batch, 512, 6, 4)
        return self.embeddings(x.permute(0, 2, 3, 1).flatten(1))  # (batch, 128)

    forward = embed


class VGGishPostprocessor(nn.Module):
    """Whitened principal components of VGGish, clipped to [-2, 2], in 256 steps: AudioSet, shot_long.

    Args:
        quantise: ``"round"`` to the nearest step, as torchvggish does, whose file of parameters is read;
            ``"truncate"`` to the step below, as TensorFlow's release and with it AudioSet's published
            features do. Rounding is the default since it has no bias: truncated values are half a step
            lower on average

    Shape:
        embed ``(batch, 128)`` to ``(batch, 128)``, whole numbers in [0, 255]

    Raises:
        ValueError: if ``quantise`` is neither
    """

    def __init__(self, *, quantise: str = "round"):
        super().__init__()
        if quantise not in ("round", "truncate"):
            raise ValueError(f"quantise is 'round' or 'truncate', not {quantise!r}")
        self.quantise = quantise
        self.register_buffer("pca_eigen_vectors", torch.eye(128))
        self.register_buffer("pca_means", torch.zeros(128))  # a row, as in the released file

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        x = x.float() - self.pca_means  # (batch, 128)
        x = x @ self.pca_eigen_vectors.T  # (batch, 128)
        x = (x.clamp(-2, 2) + 2) * (255 / 4)  # (batch, 128), in [0, 255]
        return x.round() if self.quantise == "round" else x.floor()

    forward = embed


def _same(x, kernel, stride, value=0.0):
    """Pads as TensorFlow does: the output has ``ceil(size / stride)`` places, an odd one is added at the end."""
    short = [
        max(k - (s if n % s == 0 else n % s), 0)
        for n, k, s in zip(x.shape[2:], kernel, stride, strict=True)
    ]
    return (
        F.pad(x, [side for n in reversed(short) for side in (n // 2, n - n // 2)], value=value)
        if any(short)
        else x
    )


class _Unit(nn.Module):
    """Convolution in space and time, batch norm, ReLU."""

    def __init__(self, channels, width, kernel=1, stride=1, *, norm=True):
        super().__init__()
        self.kernel, self.stride = (kernel,) * 3, (stride,) * 3
        self.conv3d = nn.Conv3d(channels, width, self.kernel, self.stride, bias=not norm)
        if norm:
            self.bn = nn.BatchNorm3d(width, eps=1e-3, momentum=0.01)

    def forward(self, x):
        return F.relu_(self.bn(self.conv3d(_same(x, self.kernel, self.stride))))


class _Mixed(nn.Module):
    """Four branches of I3D; pooling pads with zeros, as the released network does."""

    def __init__(self, channels, b0, b1a, b1b, b2a, b2b, b3b):
        super().__init__()
        self.b0 = _Unit(channels, b0)
        self.b1a, self.b1b = _Unit(channels, b1a), _Unit(b1a, b1b, 3)
        self.b2a, self.b2b = _Unit(channels, b2a), _Unit(b2a, b2b, 3)
        self.b3b = _Unit(channels, b3b)

    def forward(self, x):
        pooled = _pool(x, (3, 3, 3), (1, 1, 1))
        return torch.cat(
            [self.b0(x), self.b1b(self.b1a(x)), self.b2b(self.b2a(x)), self.b3b(pooled)], 1
        )


def _pool(x, kernel, stride):
    return F.max_pool3d(_same(x, kernel, stride), kernel, stride)


class I3D(nn.Module):
    """A stack of frames to 1,024 values: the RGB stream to mixed_5c, averaged over space and time.

    Shape:
        embed ``(batch, 3, frames, 224, 224)``, in [-1, 1], to ``(batch, 1024)``
    """

    MIXED = (
        ("3b", 192, 64, 96, 128, 16, 32, 32),
        ("3c", 256, 128, 128, 192, 32, 96, 64),
        ("4b", 480, 192, 96, 208, 16, 48, 64),
        ("4c", 512, 160, 112, 224, 24, 64, 64),
        ("4d", 512, 128, 128, 256, 24, 64, 64),
        ("4e", 512, 112, 144, 288, 32, 64, 64),
        ("4f", 528, 256, 160, 320, 32, 128, 128),
        ("5b", 832, 256, 160, 320, 32, 128, 128),
        ("5c", 832, 384, 192, 384, 48, 128, 128),
    )

    def __init__(self):
        super().__init__()
        self.logits = _Unit(1024, 400, norm=False)
        self.Conv3d_1a_7x7 = _Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = _Unit(64, 64)
        self.Conv3d_2c_3x3 = _Unit(64, 192, 3)
        for name, *widths in self.MIXED:
            self.add_module(f"Mixed_{name}", _Mixed(*widths))

    def embed(self, x):
        x = _pool(self.Conv3d_1a_7x7(x), (1, 3, 3), (1, 2, 2))  # (batch, 64, frames / 2, 56, 56)
        x = _pool(
            self.Conv3d_2c_3x3(self.Conv3d_2b_1x1(x)), (1, 3, 3), (1, 2, 2)
        )  # (batch, 192, frames / 2, 28, 28)
        x = _pool(
            self.Mixed_3c(self.Mixed_3b(x)), (3, 3, 3), (2, 2, 2)
        )  # (batch, 480, frames / 4, 14, 14)
        for name in "bcdef":
            x = getattr(self, f"Mixed_4{name}")(x)  # (batch, 832, frames / 4, 14, 14)
        x = self.Mixed_5c(
            self.Mixed_5b(_pool(x, (2, 2, 2), (2, 2, 2)))
        )  # (batch, 1024, frames / 8, 7, 7)
        return x.mean((2, 3, 4))  # (batch, 1024)

    forward = embed


class FlowNetS(nn.Module):
    """Two frames to 1,024 values: the contracting part to conv6_1, averaged over space.

    The released file also holds the expanding part, which is not needed here and is left out when it is read.

    Shape:
        embed ``(batch, 6, height, width)``, RGB in [0, 1] less (0.411, 0.432, 0.45) twice, to
        ``(batch, 1024)``
    """

    # name, channels, kernels, side of a kernel, stride
    CONTRACT = (
        ("1", 6, 64, 7, 2),
        ("2", 64, 128, 5, 2),
        ("3", 128, 256, 5, 2),
        ("3_1", 256, 256, 3, 1),
        ("4", 256, 512, 3, 2),
        ("4_1", 512, 512, 3, 1),
        ("5", 512, 512, 3, 2),
        ("5_1", 512, 512, 3, 1),
        ("6", 512, 1024, 3, 2),
        ("6_1", 1024, 1024, 3, 1),
    )
    EXPAND = ("deconv", "upsampled_flow", "predict_flow")

    def __init__(self):
        super().__init__()
        for name, channels, kernels, side, stride in self.CONTRACT:
            layer = nn.Conv2d(channels, kernels, side, stride, padding=side // 2)
            self.add_module(f"conv{name}", nn.Sequential(layer, nn.LeakyReLU(0.1, inplace=True)))

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        for name, *_ in self.CONTRACT:
            x = getattr(self, f"conv{name}")(x)
        return x.mean((2, 3))  # (batch, 1024)

    forward = embed

    @classmethod
    def released(cls, state: dict) -> dict:
        """The contracting part; beside the state are the name of the architecture and the scale of the flow."""
        state = state.get("state_dict", state)
        return {name: value for name, value in state.items() if not name.startswith(cls.EXPAND)}


class OpenPoseBody(nn.Module):
    """A frame to 128 values: OpenPose's body backbone, then what shot_long adds.

    Differs from the paper in: the paper's two groups of convolution and pooling and its dense layer have no kernel,
    width or input size; here 128 kernels of 3 x 3, pooling by 2, the mean over space, dense 128. Its authors published
    no weights for them. ``layer="backbone"`` stops before and averages the 128 maps of the backbone over space.

    Shape:
        embed ``(batch, 3, height, width)``, BGR in [-0.5, 0.5], to ``(batch, 128)``
    """

    BACKBONE = (
        ("conv1_1", 3, 64),
        ("conv1_2", 64, 64),
        ("pool1_stage1", 0, 0),
        ("conv2_1", 64, 128),
        ("conv2_2", 128, 128),
        ("pool2_stage1", 0, 0),
        ("conv3_1", 128, 256),
        ("conv3_2", 256, 256),
        ("conv3_3", 256, 256),
        ("conv3_4", 256, 256),
        ("pool3_stage1", 0, 0),
        ("conv4_1", 256, 512),
        ("conv4_2", 512, 512),
        ("conv4_3_CPM", 512, 256),
        ("conv4_4_CPM", 256, 128),
    )

    def __init__(self, *, layer="dense"):
        super().__init__()
        layers = OrderedDict()
        for name, a, b in self.BACKBONE:
            layers[name] = nn.Conv2d(a, b, 3, padding=1) if a else nn.MaxPool2d(2)
            if a:
                layers[f"relu_{name}"] = nn.ReLU(inplace=True)
        self.backbone, self.layer = nn.Sequential(layers), layer
        if layer == "dense":
            self.groups, self.dense = _stack((128, "M", 128, "M"), 128), _dense(128, 128)

    def embed(self, x):
        x = self.backbone(x)  # (batch, 128, height / 8, width / 8)
        if self.layer == "backbone":
            return x.mean((2, 3))  # (batch, 128)
        return self.dense(self.groups(x).mean((2, 3)))  # (batch, 128)

    forward = embed

    def released(self, state):
        """The backbone out of the whole body model, whose later stages find joints."""
        if any(name.startswith("backbone.") for name in state):
            return state
        state = {name.removeprefix("model0."): value for name, value in state.items()}
        wanted = [
            name.removeprefix("backbone.")
            for name in self.state_dict()
            if name.startswith("backbone.")
        ]
        return {f"backbone.{name}": state[name] for name in wanted if name in state}

    def filed(self, name, state):
        if any(key.startswith("backbone.") for key in state):
            return name
        return "model0." * any(key.startswith("model0.") for key in state) + name.removeprefix(
            "backbone."
        )


class _Body(nn.Module):
    """Holds a network of another library; the released parameters carry its names."""

    def __init__(self, body):
        super().__init__()
        self.body = body

    def released(self, state):
        return {f"body.{name}": value for name, value in state.items()}

    def filed(self, name, state):
        return name.removeprefix("body.")


class ResNet(_Body):
    """ResNet-50 of torchvision without its last layer.

    Shape:
        embed ``(batch, 3, 224, 224)``, RGB normalised by ImageNet's mean and deviation, to ``(batch, 2048)``
    """

    def __init__(self):
        from torchvision.models import resnet50

        super().__init__(resnet50(weights=None))

    def embed(self, x):
        x = self.body.maxpool(
            self.body.relu(self.body.bn1(self.body.conv1(x)))
        )  # (batch, 64, 56, 56)
        for level in (1, 2, 3, 4):
            x = getattr(self.body, f"layer{level}")(x)
        return x.mean((2, 3))  # (batch, 2048)

    forward = embed


class Inception(_Body):
    """Inception-v3 of torchvision to its last pooling layer.

    Shape:
        embed ``(batch, 3, 299, 299)``, RGB in [-1, 1], to ``(batch, 2048)``
    """

    def __init__(self):
        from torchvision.models import inception_v3

        super().__init__(inception_v3(weights=None, init_weights=False))

    def embed(self, x):
        for name, layer in self.body.named_children():
            if name == "dropout":
                return x.flatten(1)  # (batch, 2048)
            if name != "AuxLogits":
                x = layer(x)

    forward = embed


class VGG(nn.Module):
    """VGG-16: its last pooling layer (``pool5``), the mean of that (``pool``), or fc6 after its ReLU.

    The same layers serve ImageNet (torchvision's names and input), Places365 and VGG-Face (Caffe's names, ``conv1_1``
    to ``fc6``, and Caffe's input, see ``affectlib.features.pretrained``). What lies behind the layer is left out.

    Shape:
        embed ``(batch, 3, 224, 224)`` to ``(batch, 512 * 7 * 7)``, ``(batch, 512)`` or ``(batch, 4096)``
    """

    def __init__(self, *, layer="fc6"):
        super().__init__()
        self.features, self.layer = _stack(VGG16, 3), layer
        if layer == "fc6":
            self.classifier = _dense(512 * 7 * 7, 4096)

    def embed(self, x):
        x = self.features(x)  # (batch, 512, 7, 7)
        if self.layer == "pool":
            return x.mean((2, 3))  # (batch, 512)
        return self.classifier(x.flatten(1)) if self.layer == "fc6" else x.flatten(1)

    forward = embed

    def _caffe(self):
        """Caffe's names of layers to those of torchvision."""
        blocks = [
            f"conv{block}_{k + 1}" for block, n in enumerate((2, 2, 3, 3, 3), 1) for k in range(n)
        ]
        places = [
            f"features.{i}" for i, layer in enumerate(self.features) if isinstance(layer, nn.Conv2d)
        ]
        return dict(zip(blocks + ["fc6"], places + ["classifier.0"], strict=True))

    def filed(self, name, state):
        state, names, (layer, _, what) = (
            state.get("state_dict", state),
            self._caffe(),
            name.rpartition("."),
        )
        caffe = any(key.removeprefix("module.").rpartition(".")[0] in names for key in state)
        layers = {own: layer for layer, own in names.items()} if caffe else {}
        return (
            "module." * any(key.startswith("module.") for key in state)
            + f"{layers.get(layer, layer)}.{what}"
        )

    def released(self, state):
        state = {
            name.removeprefix("module."): value
            for name, value in state.get("state_dict", state).items()
        }
        names = self._caffe()
        behind = (
            ("fc7", "fc8", "classifier.3", "classifier.6")
            if self.layer == "fc6"
            else ("fc", "classifier.")
        )
        state = {name: value for name, value in state.items() if not name.startswith(behind)}
        return {
            ".".join((names.get(layer, layer), what)): value
            for (layer, _, what), value in (
                (name.rpartition("."), value) for name, value in state.items()
            )
        }


class Xception(nn.Module):
    """A face to 3,072 values: Xception of timm, and the dense layer of shot_long's expression network.

    Differs from the paper in: the paper says "fully connected layers" and that the last gives 3,072 values; here it is
    one, with ReLU, before the seven expressions of RAF-DB. Its authors published no weights.

    Shape:
        embed ``(batch, 3, 160, 160)``, RGB in [-1, 1], to ``(batch, 3072)``; forward to ``(batch, 7)``
    """

    def __init__(self):
        from timm import create_model

        super().__init__()
        self.body = create_model("legacy_xception", pretrained=False, num_classes=0)
        self.dense = _dense(2048, 3072)
        self.expressions = nn.Linear(3072, 7)

    def embed(self, x):
        return self.dense(self.body.forward_features(x).mean((2, 3)))  # (batch, 3072)

    def forward(self, x):
        return self.expressions(self.embed(x))  # (batch, 7)


def fold(network):
    """Puts each batch norm into the convolution before it: the same values in evaluation, with fewer passes."""
    from torch.nn.utils import fuse_conv_bn_eval

    for module in list(network.modules()):
        children = list(module.named_children())
        for (name, first), (then, norm) in pairwise(children):
            owner, key = (first, "pointwise") if hasattr(first, "pointwise") else (module, name)
            if isinstance(norm, (nn.BatchNorm2d, nn.BatchNorm3d)) and isinstance(
                conv := getattr(owner, key), (nn.Conv2d, nn.Conv3d)
            ):
                setattr(owner, key, fuse_conv_bn_eval(conv.eval(), norm.eval()))
                setattr(module, then, nn.Identity())
    return network


def direct(network):
    """Sends every convolution to oneDNN: torch leaves kernels of 1 to a slower library for fewer than 16 frames.

    Sixteen and more do not fit the cache of a processor: eight frames at a time are a fifth faster.
    """

    def forward(layer, x):
        return torch.mkldnn_convolution(
            x, layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation, layer.groups
        )

    if torch.backends.mkldnn.is_available():
        for layer in network.modules():
            if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
                layer.forward = MethodType(forward, layer)
    return network
