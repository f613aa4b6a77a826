"""The papers' own networks, with the parameter names of the released weights.

Each has ``embed(x) -> (batch, size)``. Where a released file uses other names for the parameters,
or holds layers that are not needed, the network has methods that
:func:`affectlib.features.pretrained.weights.load` calls:

- ``state_from_file(state)`` renames and selects the parameters of a file for the network;
- ``name_in_file(name, state)`` says how the file calls one of them, for error messages.

References:
    Hershey et al. (2017), CNN architectures for large-scale audio classification, ICASSP: VGGish.
    Carreira and Zisserman (2017), Quo vadis, action recognition?, CVPR: I3D.
    Dosovitskiy et al. (2015), FlowNet, ICCV.
    Cao et al. (2018), OpenPose, arXiv:1812.08008.
    He et al. (2016), ResNet, CVPR.
    Szegedy et al. (2016), Inception-v3, CVPR.
    Simonyan and Zisserman (2015), VGG, ICLR.
    Parkhi et al. (2015), VGG-Face, BMVC.
    Zhou et al. (2018), Places365, TPAMI.
    Chollet (2017), Xception, CVPR.
"""

from collections import OrderedDict
from collections.abc import Sequence
from itertools import pairwise
from types import MethodType

import torch
import torchvision
from torch import nn
from torch.nn import functional as F
from torchvision.models.resnet import Bottleneck
from torchvision.models.vgg import cfgs, make_layers

State = dict[str, torch.Tensor]


def _dense(inputs: int, *widths: int) -> nn.Sequential:
    """Dense layers, each with a ReLU."""
    layers = []
    for width in widths:
        layers.append(nn.Linear(inputs, width))
        layers.append(nn.ReLU(inplace=True))
        inputs = width
    return nn.Sequential(*layers)


class VGGish(nn.Module):
    """Turns 0.96 s of sound into 128 values, taken after the last ReLU.

    Shape:
        embed ``(batch, 96, 64)`` log-mel examples, see
        :func:`affectlib.features.audio.vggish_examples`, to ``(batch, 128)``
    """

    WIDTHS = (64, "M", 128, "M", 256, 256, "M", 512, 512, "M")  # M: pooling by 2

    def __init__(self) -> None:
        super().__init__()
        # torchvision's make_layers takes pictures of three channels only; a spectrogram has one.
        layers = []
        channels = 1
        for width in self.WIDTHS:
            if width == "M":
                layers.append(nn.MaxPool2d(2))
            else:
                layers.append(nn.Conv2d(channels, width, 3, padding=1))
                layers.append(nn.ReLU(inplace=True))
                channels = width
        self.features = nn.Sequential(*layers)
        self.embeddings = _dense(512 * 4 * 6, 4096, 4096, 128)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x[:, None])  # (batch, 512, 6, 4)
        # TensorFlow, in which it was trained, puts the channels last before it flattens.
        x = x.permute(0, 2, 3, 1)  # (batch, 6, 4, 512)
        return self.embeddings(x.flatten(1))  # (batch, 128)

    forward = embed


class VGGishPostprocessor(nn.Module):
    """Whitened principal components of VGGish, clipped to [-2, 2], in 256 steps.

    AudioSet's published features and shot_long use them.

    Args:
        quantise: ``"round"`` takes the nearest step, as torchvggish does, whose file is read;
            ``"truncate"`` takes the step below, as TensorFlow's release and AudioSet's published
            features do. Rounding is the default because it has no bias:
            truncated values are half a step lower on average

    Shape:
        embed ``(batch, 128)`` to ``(batch, 128)``, whole numbers in [0, 255]

    Raises:
        ValueError: if ``quantise`` is neither
    """

    def __init__(self, *, quantise: str = "round") -> None:
        super().__init__()
        if quantise not in ("round", "truncate"):
            raise ValueError(f"quantise is 'round' or 'truncate', not {quantise!r}")
        self.quantise = quantise
        self.register_buffer("pca_eigen_vectors", torch.eye(128))
        self.register_buffer("pca_means", torch.zeros(128))  # one dimension, as in the file

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        x = x.float() - self.pca_means  # (batch, 128)
        x = x @ self.pca_eigen_vectors.T  # (batch, 128)
        x = (x.clamp(-2, 2) + 2) * (255 / 4)  # (batch, 128), in [0, 255]
        return x.round() if self.quantise == "round" else x.floor()

    forward = embed


def _pad_same(x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int]) -> torch.Tensor:
    """Pads with zeros as TensorFlow's "SAME" does.

    The output of the layer has ``ceil(size / stride)`` places.
    Where the padding is odd, the end gets one more than the beginning.
    """
    padding = []
    # F.pad wants the last dimension first.
    for dimension in reversed(range(len(kernel))):
        size = x.shape[2 + dimension]
        last_step = size % stride[dimension] or stride[dimension]
        total = max(kernel[dimension] - last_step, 0)
        before = total // 2
        padding.extend((before, total - before))
    return F.pad(x, padding) if any(padding) else x


def _max_pool_same(x: torch.Tensor, kernel: Sequence[int], stride: Sequence[int]) -> torch.Tensor:
    """Pooling with TensorFlow's padding by zeros, as in the released network."""
    return F.max_pool3d(_pad_same(x, kernel, stride), kernel, stride)


class _Unit(nn.Module):
    """Convolution in space and time, batch norm, ReLU."""

    def __init__(
        self, channels: int, width: int, kernel: int = 1, stride: int = 1, *, norm: bool = True
    ) -> None:
        super().__init__()
        self.kernel = (kernel,) * 3
        self.stride = (stride,) * 3
        self.conv3d = nn.Conv3d(channels, width, self.kernel, self.stride, bias=not norm)
        if norm:
            # eps as in TensorFlow, in which the network was trained; torch has 1e-5.
            self.bn = nn.BatchNorm3d(width, eps=1e-3, momentum=0.01)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.conv3d(_pad_same(x, self.kernel, self.stride))
        return F.relu_(self.bn(x))


class _Mixed(nn.Module):
    """The four branches of one block of I3D, side by side; the arguments are their widths."""

    def __init__(
        self, channels: int, b0: int, b1a: int, b1b: int, b2a: int, b2b: int, b3b: int
    ) -> None:
        super().__init__()
        self.b0 = _Unit(channels, b0)
        self.b1a = _Unit(channels, b1a)
        self.b1b = _Unit(b1a, b1b, 3)
        self.b2a = _Unit(channels, b2a)
        self.b2b = _Unit(b2a, b2b, 3)
        self.b3b = _Unit(channels, b3b)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        branch0 = self.b0(x)
        branch1 = self.b1b(self.b1a(x))
        branch2 = self.b2b(self.b2a(x))
        branch3 = self.b3b(_max_pool_same(x, (3, 3, 3), (1, 1, 1)))
        return torch.cat([branch0, branch1, branch2, branch3], 1)


class I3D(nn.Module):
    """Turns a stack of frames into 1,024 values.

    The RGB stream up to mixed_5c, averaged over space and time.

    Shape:
        embed ``(batch, 3, frames, 224, 224)``, in [-1, 1], to ``(batch, 1024)``
    """

    # Name of the block, channels of its input, widths of its four branches.
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

    def __init__(self) -> None:
        super().__init__()
        # Never run: the released file holds the layer that names Kinetics' 400 actions.
        self.logits = _Unit(1024, 400, norm=False)
        self.Conv3d_1a_7x7 = _Unit(3, 64, 7, 2)
        self.Conv3d_2b_1x1 = _Unit(64, 64)
        self.Conv3d_2c_3x3 = _Unit(64, 192, 3)
        for name, *widths in self.MIXED:
            self.add_module(f"Mixed_{name}", _Mixed(*widths))

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        x = self.Conv3d_1a_7x7(x)  # (batch, 64, frames / 2, 112, 112)
        x = _max_pool_same(x, (1, 3, 3), (1, 2, 2))  # (batch, 64, frames / 2, 56, 56)
        x = self.Conv3d_2b_1x1(x)  # (batch, 64, frames / 2, 56, 56)
        x = self.Conv3d_2c_3x3(x)  # (batch, 192, frames / 2, 56, 56)
        x = _max_pool_same(x, (1, 3, 3), (1, 2, 2))  # (batch, 192, frames / 2, 28, 28)
        x = self.Mixed_3b(x)  # (batch, 256, frames / 2, 28, 28)
        x = self.Mixed_3c(x)  # (batch, 480, frames / 2, 28, 28)
        x = _max_pool_same(x, (3, 3, 3), (2, 2, 2))  # (batch, 480, frames / 4, 14, 14)
        x = self.Mixed_4b(x)  # (batch, 512, frames / 4, 14, 14)
        x = self.Mixed_4c(x)  # (batch, 512, frames / 4, 14, 14)
        x = self.Mixed_4d(x)  # (batch, 512, frames / 4, 14, 14)
        x = self.Mixed_4e(x)  # (batch, 528, frames / 4, 14, 14)
        x = self.Mixed_4f(x)  # (batch, 832, frames / 4, 14, 14)
        x = _max_pool_same(x, (2, 2, 2), (2, 2, 2))  # (batch, 832, frames / 8, 7, 7)
        x = self.Mixed_5b(x)  # (batch, 832, frames / 8, 7, 7)
        x = self.Mixed_5c(x)  # (batch, 1024, frames / 8, 7, 7)
        return x.mean((2, 3, 4))  # (batch, 1024)

    forward = embed


class FlowNetS(nn.Module):
    """Turns two frames into 1,024 values: the contracting part up to conv6_1, averaged over space.

    The released file also holds the expanding part. It is not needed here and is left out.

    Shape:
        embed ``(batch, 6, height, width)``, RGB in [0, 1] minus (0.411, 0.432, 0.45), both frames
        one after the other, to ``(batch, 1024)``
    """

    # Name, channels, kernels, side of a kernel, stride.
    CONTRACT = (
        ("conv1", 6, 64, 7, 2),
        ("conv2", 64, 128, 5, 2),
        ("conv3", 128, 256, 5, 2),
        ("conv3_1", 256, 256, 3, 1),
        ("conv4", 256, 512, 3, 2),
        ("conv4_1", 512, 512, 3, 1),
        ("conv5", 512, 512, 3, 2),
        ("conv5_1", 512, 512, 3, 1),
        ("conv6", 512, 1024, 3, 2),
        ("conv6_1", 1024, 1024, 3, 1),
    )
    EXPAND = ("deconv", "upsampled_flow", "predict_flow")

    def __init__(self) -> None:
        super().__init__()
        for name, channels, kernels, side, stride in self.CONTRACT:
            convolution = nn.Conv2d(channels, kernels, side, stride, padding=side // 2)
            self.add_module(name, nn.Sequential(convolution, nn.LeakyReLU(0.1, inplace=True)))

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        for name, *_ in self.CONTRACT:
            x = getattr(self, name)(x)
        return x.mean((2, 3))  # (batch, 1024)

    forward = embed

    def state_from_file(self, state: dict) -> State:
        # The file also holds the name of the architecture and the scale of the flow.
        state = state.get("state_dict", state)
        return {name: value for name, value in state.items() if not name.startswith(self.EXPAND)}


class OpenPoseBody(nn.Module):
    """Turns a frame into 128 values: OpenPose's body backbone, averaged over space.

    Differs from the paper in: shot_long puts two groups of convolution and pooling and a dense
    layer on top, without their sizes. Their weights were not published, so they are left out.

    Shape:
        embed ``(batch, 3, height, width)``, BGR in [-0.5, 0.5], to ``(batch, 128)``
    """

    # Name, channels, kernels; 0 for pooling.
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
    PREFIX = "model0."  # in files that were saved from the model of pytorch-openpose

    def __init__(self) -> None:
        super().__init__()
        layers = OrderedDict()
        for name, channels, kernels in self.BACKBONE:
            if channels:
                layers[name] = nn.Conv2d(channels, kernels, 3, padding=1)
                layers[f"relu_{name}"] = nn.ReLU(inplace=True)
            else:
                layers[name] = nn.MaxPool2d(2)
        self.backbone = nn.Sequential(layers)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        x = self.backbone(x)  # (batch, 128, height / 8, width / 8)
        return x.mean((2, 3))  # (batch, 128)

    forward = embed

    def state_from_file(self, state: State) -> State:
        """Takes the backbone out of the body model, whose later stages find joints."""
        parameters = self.state_dict()
        backbone = {}
        for name, value in state.items():
            name = f"backbone.{name.removeprefix(self.PREFIX)}"
            if name in parameters:
                backbone[name] = value
        return backbone

    def name_in_file(self, name: str, state: State) -> str:
        name = name.removeprefix("backbone.")
        if any(key.startswith(self.PREFIX) for key in state):
            return self.PREFIX + name
        return name


class ResNet(torchvision.models.ResNet):
    """ResNet-50 of torchvision without its last layer.

    Shape:
        embed ``(batch, 3, 224, 224)``, RGB normalised by ImageNet's mean and deviation, to
        ``(batch, 2048)``
    """

    def __init__(self) -> None:
        super().__init__(Bottleneck, [3, 4, 6, 3])
        # In place of ImageNet's classes; torchvision's own forward then ends in the features.
        self.fc = nn.Identity()

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        return self(x)  # (batch, 2048)

    def state_from_file(self, state: State) -> State:
        return {name: value for name, value in state.items() if not name.startswith("fc.")}


class Inception(torchvision.models.Inception3):
    """Inception-v3 of torchvision up to its last pooling layer.

    Shape:
        embed ``(batch, 3, 299, 299)``, RGB in [-1, 1], to ``(batch, 2048)``
    """

    def __init__(self) -> None:
        # The auxiliary classifier is used in training only.
        super().__init__(aux_logits=False, init_weights=False)
        self.fc = nn.Identity()

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        return self(x)  # (batch, 2048)

    def state_from_file(self, state: State) -> State:
        classifiers = ("fc.", "AuxLogits.")
        return {name: value for name, value in state.items() if not name.startswith(classifiers)}


class VGG(nn.Module):
    """VGG-16 up to its last pooling layer, or up to fc6.

    The same layers serve ImageNet (torchvision's names and input), Places365 and VGG-Face (Caffe's
    names, ``conv1_1`` to ``fc6``, and Caffe's input, see ``affectlib.features.deep.INPUTS``).
    Everything behind the chosen layer is left out.

    Args:
        layer: ``"pool5"`` for the maps of the last pooling layer, ``"pool"`` for their mean over
            space, ``"fc6"`` for fc6 after its ReLU

    Shape:
        embed ``(batch, 3, 224, 224)`` to ``(batch, 512 * 7 * 7)``, ``(batch, 512)`` or
        ``(batch, 4096)``
    """

    CONVOLUTIONS = (2, 2, 3, 3, 3)  # in each block

    def __init__(self, *, layer: str = "fc6") -> None:
        super().__init__()
        self.layer = layer
        # Not torchvision.models.vgg16: that would also make 120 million parameters that are not
        # used. Its parts have the same names.
        self.features = make_layers(cfgs["D"])
        if layer == "fc6":
            self.classifier = _dense(512 * 7 * 7, 4096)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        x = self.features(x)  # (batch, 512, 7, 7)
        if self.layer == "pool":
            return x.mean((2, 3))  # (batch, 512)
        x = x.flatten(1)  # (batch, 512 * 7 * 7)
        if self.layer == "fc6":
            x = self.classifier(x)  # (batch, 4096)
        return x

    forward = embed

    def caffe_names(self) -> dict[str, str]:
        """Caffe's names of the layers, each with the name of torchvision."""
        caffe = []
        for block, convolutions in enumerate(self.CONVOLUTIONS, 1):
            for k in range(1, convolutions + 1):
                caffe.append(f"conv{block}_{k}")
        ours = []
        for place, layer in enumerate(self.features):
            if isinstance(layer, nn.Conv2d):
                ours.append(f"features.{place}")
        names = dict(zip(caffe, ours, strict=True))
        names["fc6"] = "classifier.0"
        return names

    def state_from_file(self, state: dict) -> State:
        unused = ("fc", "classifier.")
        if self.layer == "fc6":
            unused = ("fc7", "fc8", "classifier.3", "classifier.6")
        names = self.caffe_names()
        renamed = {}
        for name, value in state.get("state_dict", state).items():
            name = name.removeprefix("module.")  # added by a training on several GPUs
            if name.startswith(unused):
                continue
            layer, _, kind = name.rpartition(".")  # kind: weight or bias
            renamed[f"{names.get(layer, layer)}.{kind}"] = value
        return renamed

    def name_in_file(self, name: str, state: dict) -> str:
        state = state.get("state_dict", state)
        names = self.caffe_names()
        layers = {key.removeprefix("module.").rpartition(".")[0] for key in state}
        if layers & set(names):
            caffe_of = {ours: caffe for caffe, ours in names.items()}
            layer, _, kind = name.rpartition(".")
            name = f"{caffe_of.get(layer, layer)}.{kind}"
        if any(key.startswith("module.") for key in state):
            name = f"module.{name}"
        return name


class Xception(nn.Module):
    """Turns a face into 3,072 values: timm's Xception and shot_long's dense layer for expressions.

    Differs from the paper in: the paper says "fully connected layers", of which the last gives
    3,072 values. Here it is one layer, with ReLU, before the seven expressions of RAF-DB.
    The authors published no weights.

    Shape:
        embed ``(batch, 3, 160, 160)``, RGB in [-1, 1], to ``(batch, 3072)``; forward to
        ``(batch, 7)``
    """

    def __init__(self) -> None:
        from timm import create_model

        super().__init__()
        self.body = create_model("legacy_xception", pretrained=False, num_classes=0)
        self.dense = _dense(2048, 3072)
        # For the training on RAF-DB; features are taken before it.
        self.expressions = nn.Linear(3072, 7)

    def embed(self, x: torch.Tensor) -> torch.Tensor:
        x = self.body.forward_features(x)  # (batch, 2048, 5, 5)
        return self.dense(x.mean((2, 3)))  # (batch, 3072)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.expressions(self.embed(x))  # (batch, 7)


def fold_batch_norm(network: nn.Module) -> nn.Module:
    """Puts each batch norm into the convolution before it.

    In evaluation this gives the same values in fewer passes over memory.
    """
    from torch.nn.utils import fuse_conv_bn_eval

    # Lists, because layers are replaced on the way.
    for module in list(network.modules()):
        children = list(module.named_children())
        for (name, layer), (norm_name, norm) in pairwise(children):
            if not isinstance(norm, (nn.BatchNorm2d, nn.BatchNorm3d)):
                continue
            owner = module
            if hasattr(layer, "pointwise"):
                # A separable convolution of timm: its second part is followed by the norm.
                owner = layer
                name = "pointwise"
            convolution = getattr(owner, name)
            if isinstance(convolution, (nn.Conv2d, nn.Conv3d)):
                setattr(owner, name, fuse_conv_bn_eval(convolution.eval(), norm.eval()))
                setattr(module, norm_name, nn.Identity())
    return network


def convolve_with_onednn(network: nn.Module) -> nn.Module:
    """Sends every convolution to oneDNN.

    torch itself sends kernels of 1 to a slower library when there are fewer than 16 frames.
    More frames at once are no way out: they do not fit the cache of a processor.
    """

    def forward(layer, x):
        return torch.mkldnn_convolution(
            x, layer.weight, layer.bias, layer.padding, layer.stride, layer.dilation, layer.groups
        )

    # A build of torch without oneDNN, as on some ARM machines, keeps its own choice.
    if torch.backends.mkldnn.is_available():
        for layer in network.modules():
            if isinstance(layer, (nn.Conv2d, nn.Conv3d)):
                layer.forward = MethodType(forward, layer)
    return network
