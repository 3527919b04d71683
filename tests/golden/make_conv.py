"""Reference values for convolution, pooling and resizing: conv, conv_transpose, pool, resize (.safetensors).

    pip install torch numpy safetensors && python tests/golden/make_conv.py

Written with torch 2.15.0, numpy 2.4.6, safetensors 0.8.0. Values are f64. Activations are stored features last (torch
computes on channels first); weights keep torch's layout. Each case NAME has
    NAME.x, NAME.w, NAME.b   inputs (w, b: convolutions only)
    NAME.y                   the output
    NAME.ct                  a cotangent
    NAME.gx, NAME.gw, NAME.gb   the gradients of <y, ct>
    NAME.pw, NAME.pct        (convolutions) the gradients of |gx|^2 with respect to w and ct: second order
    NAME.place               (max pooling) the index of each maximum over the flattened spatial axes
tests/core/test_golden_conv.c holds the options of each case beside these.
"""
import os
import numpy as np
import torch
import torch.nn.functional as F
from safetensors.numpy import save_file

HERE = os.path.dirname(os.path.abspath(__file__))
rng = np.random.default_rng(20260101)


def values(*shape):
    """Multiples of 1/64 in [-2, 2): sums of a few of them are exact in single precision too."""
    return torch.tensor(rng.integers(-128, 128, shape) / 64.0, dtype=torch.float64)


def last(t):
    """[B, C, spatial...] -> [B, spatial..., C]"""
    return np.ascontiguousarray(t.detach().movedim(1, -1).numpy())


def pad(t, before, after):
    """Zeros (or a crop, where negative) before and after each spatial axis."""
    flat = []
    for lo, hi in reversed(list(zip(before, after))):
        flat += [lo, hi]
    return F.pad(t, flat)


def convolutions(transpose):
    out = {}
    conv = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}
    transposed = {1: F.conv_transpose1d, 2: F.conv_transpose2d, 3: F.conv_transpose3d}

    def record(name, x, w, b, f):
        for t in (x, w, b):
            t.requires_grad_()
        y = f(x, w, b)
        ct = values(*y.shape).requires_grad_()
        gx, gw, gb = torch.autograd.grad((y * ct).sum(), (x, w, b), create_graph=True)
        pw, pct = torch.autograd.grad((gx * gx).sum(), (w, ct))
        out.update({f"{name}.x": last(x), f"{name}.y": last(y), f"{name}.ct": last(ct), f"{name}.gx": last(gx),
                    f"{name}.pct": last(pct)})
        out.update({f"{name}.{k}": t.detach().numpy() for k, t in dict(w=w, b=b, gw=gw, gb=gb, pw=pw).items()})

    def case(name, x, w, stride=1, before=None, after=None, dilation=1, groups=1):
        n = len(x) - 2
        lo, hi = before or [0] * n, after or before or [0] * n
        record(name, values(*x), values(*w), values(w[0]),
               lambda x, w, b: conv[n](pad(x, lo, hi), w, b, stride, 0, dilation, groups))

    def case_t(name, x, w, stride=1, padding=0, output_padding=0, dilation=1, groups=1):
        n = len(x) - 2
        record(name, values(*x), values(*w), values(w[1] * groups),
               lambda x, w, b: transposed[n](x, w, b, stride, padding, output_padding, groups, dilation))

    if transpose:
        case_t("convt1", (2, 3, 5), (3, 4, 3), stride=2, padding=1, output_padding=1)
        case_t("convt1_dilated", (1, 4, 5), (4, 2, 3), stride=1, padding=2, output_padding=1, dilation=2, groups=2)
        case_t("convt2", (1, 3, 3, 4), (3, 2, 4, 4), stride=2, padding=1)
        case_t("convt2_all", (2, 4, 3, 2), (4, 3, 3, 2), stride=(3, 2), padding=(1, 0), output_padding=(2, 1),
               dilation=(1, 3), groups=2)
        case_t("convt3", (1, 2, 2, 3, 2), (2, 3, 2, 3, 2), stride=(2, 1, 3), padding=(0, 1, 0),
               output_padding=(1, 0, 2))
        return out
    case("conv1", (2, 3, 9), (4, 3, 3))
    case("conv1_stride", (2, 3, 11), (2, 3, 4), stride=3, before=[2], after=[1])
    case("conv1_dilated", (1, 4, 12), (6, 2, 3), dilation=4, before=[5], after=[0], groups=2)
    case("conv1_holes", (2, 2, 9), (3, 2, 2), stride=4)
    case("conv2", (2, 3, 5, 6), (4, 3, 3, 3), before=[1, 1])
    case("conv2_stride", (1, 3, 7, 8), (4, 3, 3, 2), stride=(2, 3), before=[1, 0], after=[2, 1])
    case("conv2_groups", (1, 4, 5, 5), (6, 2, 3, 3), before=[2, 2], dilation=2, groups=2)
    case("conv2_depthwise", (2, 5, 5, 4), (5, 1, 3, 3), stride=2, before=[1, 1], groups=5)
    case("conv2_depth_twice", (1, 3, 4, 5), (6, 1, 2, 3), groups=3, before=[0, 2], after=[1, 1])
    case("conv2_cropped", (1, 2, 6, 6), (3, 2, 3, 3), before=[-1, 0], after=[2, -2])
    case("conv3", (1, 2, 4, 5, 4), (3, 2, 3, 3, 2), before=[1, 1, 0])
    case("conv3_all", (1, 4, 5, 4, 6), (4, 2, 2, 3, 2), stride=(2, 1, 2), before=[1, 2, 0], after=[0, 1, 3],
         dilation=(1, 2, 3), groups=2)
    return out


def single(f, x):
    """y and the gradient for a cotangent; inputs chosen so that single precision is exact where it is asked for."""
    x.requires_grad_()
    y = f(x)
    ct = values(*y.shape).to(x.dtype)
    gx, = torch.autograd.grad((y * ct).sum(), x)
    return y, ct, gx


def pools():
    out = {}
    avg = {1: F.avg_pool1d, 2: F.avg_pool2d, 3: F.avg_pool3d}
    mx = {1: F.max_pool1d, 2: F.max_pool2d, 3: F.max_pool3d}
    aavg = {1: F.adaptive_avg_pool1d, 2: F.adaptive_avg_pool2d, 3: F.adaptive_avg_pool3d}
    amx = {1: F.adaptive_max_pool1d, 2: F.adaptive_max_pool2d, 3: F.adaptive_max_pool3d}

    def record(name, f, shape, places=False):
        x = values(*shape)
        got = {}

        def run(x):
            y = f(x)
            if places:
                y, got["place"] = y
            return y
        y, ct, gx = single(run, x)
        out.update({f"{name}.x": last(x), f"{name}.y": last(y), f"{name}.ct": last(ct), f"{name}.gx": last(gx)})
        if places:
            out[f"{name}.place"] = last(got["place"])

    record("max1", lambda x: mx[1](x, 3, 2, 1, return_indices=True), (2, 3, 11), True)
    record("max2", lambda x: mx[2](x, (3, 2), (2, 1), (1, 0), return_indices=True), (2, 3, 7, 5), True)
    record("max2_dilated", lambda x: mx[2](x, 3, 2, 1, dilation=2, return_indices=True), (1, 3, 9, 8), True)
    record("max3", lambda x: mx[3](x, 2, 2, (0, 1, 1), return_indices=True), (1, 2, 4, 5, 6), True)
    record("avg1", lambda x: avg[1](x, 4, 3, 2), (2, 3, 10))
    record("avg2", lambda x: avg[2](x, (3, 2), (2, 1), (1, 1)), (2, 3, 6, 5))
    record("avg2_exclude", lambda x: avg[2](x, (3, 2), (2, 1), (1, 1), count_include_pad=False), (2, 3, 6, 5))
    record("avg3", lambda x: avg[3](x, (2, 3, 2), (2, 1, 2), (0, 1, 1), count_include_pad=False), (1, 2, 4, 4, 5))
    record("adaptive_avg1", lambda x: aavg[1](x, 5), (2, 3, 17))
    record("adaptive_avg1_up", lambda x: aavg[1](x, 8), (2, 2, 5))
    record("adaptive_avg2", lambda x: aavg[2](x, (3, 1)), (2, 3, 7, 5))
    record("adaptive_avg3", lambda x: aavg[3](x, (2, 7, 3)), (1, 2, 3, 7, 5))
    record("adaptive_max1", lambda x: amx[1](x, 5, return_indices=True), (2, 3, 17), True)
    record("adaptive_max2", lambda x: amx[2](x, (3, 4), return_indices=True), (1, 3, 7, 5), True)
    record("adaptive_max3", lambda x: amx[3](x, (2, 3, 4), return_indices=True), (1, 2, 3, 7, 5), True)
    return out


def resizes():
    out = {}
    linear = {1: "linear", 2: "bilinear", 3: "trilinear"}

    def record(name, shape, mode, **options):
        # nearest: the index that single precision gives, which is what public weights were trained with. (A scale that
        # leaves the size as it is has no case: torch's gradient there is not that of its value.)
        x = values(*shape).to(torch.float32 if mode == "nearest" else torch.float64)
        m = linear[len(shape) - 2] if mode == "linear" else mode
        y, ct, gx = single(lambda x: F.interpolate(x, mode=m, **options), x)
        out.update({f"{name}.{k}": last(t).astype(np.float64) for k, t in dict(x=x, y=y, ct=ct, gx=gx).items()})

    record("nearest1", (2, 3, 5), "nearest", size=11)
    record("nearest1_down", (1, 2, 13), "nearest", size=5)
    record("nearest1_scale", (1, 2, 9), "nearest", scale_factor=0.45)
    record("nearest2", (2, 2, 3, 4), "nearest", scale_factor=2)
    record("nearest3", (1, 2, 3, 2, 4), "nearest", size=(2, 5, 7))
    record("linear1", (2, 3, 5), "linear", size=11, align_corners=False)
    record("linear1_down", (1, 2, 13), "linear", size=5, align_corners=False)
    record("linear1_scale", (1, 2, 9), "linear", scale_factor=1.7, align_corners=False)
    record("linear1_same", (1, 2, 19), "linear", scale_factor=1.05, align_corners=False)
    record("linear2", (2, 2, 4, 5), "linear", size=(7, 3), align_corners=False)
    record("linear2_corners", (1, 2, 4, 5), "linear", size=(9, 1), align_corners=True)
    record("linear2_scale_corners", (1, 2, 3, 4), "linear", scale_factor=2, align_corners=True)
    record("linear3", (1, 2, 3, 2, 4), "linear", size=(5, 4, 4), align_corners=False)
    record("linear3_corners", (1, 2, 2, 3, 4), "linear", size=(4, 5, 3), align_corners=True)

    for name, f, shape in (("shuffle", lambda x: F.pixel_shuffle(x, 3), (2, 18, 2, 3)),
                           ("unshuffle", lambda x: F.pixel_unshuffle(x, 2), (1, 3, 4, 6))):
        x = values(*shape)
        y, ct, gx = single(f, x)
        out.update({f"{name}.{k}": last(t) for k, t in dict(x=x, y=y, ct=ct, gx=gx).items()})
    return out


if __name__ == "__main__":
    for name, make in (("conv", lambda: convolutions(False)), ("conv_transpose", lambda: convolutions(True)),
                       ("pool", pools), ("resize", resizes)):
        path = os.path.join(HERE, name + ".safetensors")
        save_file({k: np.ascontiguousarray(v) for k, v in make().items()}, path)
        print(path, os.path.getsize(path))
