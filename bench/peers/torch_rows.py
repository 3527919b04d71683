"""PyTorch as a peer of `gyrus bench --peers`: python3 torch_rows.py eager|compile

Talks with the parent in JSON lines (bench/child.c has the protocol). Each kernel below is what a PyTorch user would
write, on tensors that hold the same values as Gyrus's: element k of input i comes from the hash of bench/cases.h.
Activations are channels-last in memory, as Gyrus has them; weights keep PyTorch's layout.
"""

import json
import logging
import os
import sys
import time
import warnings

try:
    import numpy as np
    import torch
    import torch.nn.functional as F
except Exception as e:  # any failure to import means that the peer is not there
    print(json.dumps({"absent": f"{sys.executable}: {type(e).__name__}: {e}"}), flush=True)
    sys.exit(0)

# nothing a reader of the rows can change: beta features, CUDA that is not there
warnings.filterwarnings("ignore")
logging.getLogger("torch.utils.cpp_extension").setLevel(logging.ERROR)
MODE = sys.argv[1] if len(sys.argv) > 1 else "eager"
DTYPES = {"f32": torch.float32, "f64": torch.float64, "bf16": torch.bfloat16}


def values(i, n):
    """bench_value(i, 0..n-1)"""
    with np.errstate(over="ignore"):
        z = np.arange(n, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(((i + 1) * 0x85EBCA77) & 0xFFFFFFFF)
        z = (z ^ (z >> np.uint32(15))) * np.uint32(0x2C1B3CED)
        z = (z ^ (z >> np.uint32(12))) * np.uint32(0x297A2D39)
        z ^= z >> np.uint32(15)
    return (z >> np.uint32(8)).astype(np.float32) * np.float32(2.0**-24) - np.float32(0.5)


class Inputs:
    """The inputs of one case, asked for in the order in which the graph makes them."""

    def __init__(self, d, dtype):
        self.d, self.dtype, self.i = d, dtype, -1

    def raw(self, *shape):
        self.i += 1
        return values(self.i, int(np.prod(shape, dtype=np.int64))).reshape(shape)

    def __call__(self, *shape):
        return torch.from_numpy(self.raw(*shape)).to(self.dtype)

    def ids(self, *shape):
        last = [x for x in self.d if x][-1]
        v = (self.raw(*shape) + np.float32(0.5)).astype(np.float64) * last
        return torch.from_numpy(v.astype(np.int64))

    def leaf(self, *shape):
        return self(*shape).requires_grad_()


def grads(y, wanted, cotangent):
    """Returns a function that runs the backward pass alone."""
    return lambda: torch.autograd.grad(y, wanted, cotangent, retain_graph=True)


# Each builder takes (d, in) and returns a function without arguments, and one that brings its result into Gyrus's
# layout as a list. Identity where the layouts agree.
def plain(y):
    return list(y) if isinstance(y, (tuple, list)) else [y]


def matmul(ta, tb):
    def build(d, x):
        batch = [d[3]] if d[3] else []
        a = x(*batch, *((d[2], d[0]) if ta else (d[0], d[2])))
        b = x(*batch, *((d[1], d[2]) if tb else (d[2], d[1])))
        a, b = (a.mT if ta else a), (b.mT if tb else b)
        return torch.matmul, (a, b), plain

    return build


def linear_gelu(d, x):
    # inputs in the order x, w, b
    return (lambda a, w, b: F.gelu(F.linear(a, w, b))), (x(d[0], d[2]), x(d[1], d[2]), x(d[1])), plain


def linear_residual(d, x):
    # inputs in the order x, w, b, residual
    inputs = x(d[0], d[2]), x(d[1], d[2]), x(d[1]), x(d[0], d[1])
    return (lambda a, w, b, r: F.linear(a, w, b) + r), inputs, plain


def last_to_first(t):
    return t.movedim(-1, 1)  # channels-last in memory


def first_to_last(y):
    return [t.movedim(1, -1) for t in plain(y)]


CONV = {1: F.conv1d, 2: F.conv2d, 3: F.conv3d}


def conv(axes, groups_of=lambda d: 1):
    def build(d, x):
        groups = groups_of(d)
        a = last_to_first(x(d[0], *[d[1]] * axes, d[2]))
        w = x(d[3], d[2] // groups, *[d[4]] * axes)
        return (lambda a, w: CONV[axes](a, w, None, d[5], d[4] // 2, 1, groups)), (a, w), first_to_last

    return build


def conv_backward(axes, data, groups_of=lambda d: 1):
    def build(d, x):
        groups = groups_of(d)
        xs, ws = (d[0], *[d[1]] * axes, d[2]), (d[3], d[2] // groups, *[d[4]] * axes)
        out = [(d[1] + 2 * (d[4] // 2) - d[4]) // d[5] + 1] * axes
        if data:  # x is not needed and is no input of the plan
            w, a = x(*ws), torch.zeros(xs, dtype=x.dtype)
        else:
            a, w = x(*xs), torch.zeros(ws, dtype=x.dtype)
        ct = last_to_first(x(d[0], *out, d[3]))
        a = last_to_first(a)
        pad, stride = [d[4] // 2] * axes, [d[5]] * axes

        def run(ct, a, w):
            gx, gw, _ = torch.ops.aten.convolution_backward(
                ct, a, w, None, stride, pad, [1] * axes, False, [0] * axes, groups, [data, not data, False]
            )
            return gx if data else gw

        return run, (ct, a, w), first_to_last if data else plain

    return build


def up_conv(d, x):
    a = last_to_first(x(d[0], d[1], d[1], d[2]))
    w = x(d[3], d[2], d[4], d[4])
    return (lambda a, w: F.conv2d(F.interpolate(a, scale_factor=2), w, None, 1, d[4] // 2)), (a, w), first_to_last


def heads(d, x):
    q = x(d[0], d[1], d[2], d[3]).transpose(1, 2)
    k = x(d[0], d[4], d[5], d[3]).transpose(1, 2)
    v = x(d[0], d[4], d[5], d[3]).transpose(1, 2)
    return q, k, v


def heads_back(y):
    return [t.transpose(1, 2) for t in plain(y)]


def attention(d, x):
    q, k, v = heads(d, x)
    gqa = d[2] != d[5]
    return (
        lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=bool(d[6]), enable_gqa=gqa)
    ), (q, k, v), heads_back


def attention_masked(d, x):
    q, k, v = heads(d, x)
    mask = torch.from_numpy(x.raw(d[1], d[4]) > np.float32(-0.25))
    return (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask)), (q, k, v), heads_back


def attention_grad(d, x):
    q, k, v = (t.detach().requires_grad_() for t in heads(d, x))
    ct = x(d[0], d[1], d[2], d[3]).transpose(1, 2)
    y = F.scaled_dot_product_attention(q, k, v, is_causal=bool(d[6]))
    return grads(y, (q, k, v), ct), (), heads_back


def rows(f):
    return lambda d, x: (f, (x(d[0], d[1]),), plain)


def elements(f):
    return lambda d, x: (f, (x(d[0]),), plain)


def rows_grad(f):
    def build(d, x):
        a = x.leaf(d[0], d[1])
        return grads(f(a), (a,), x(d[0], d[1])), (), plain

    return build


def elements_grad(f):
    def build(d, x):
        a = x.leaf(d[0])
        return grads(f(a), (a,), x(d[0])), (), plain

    return build


def cross_entropy(d, x):
    return F.cross_entropy, (x(d[0], d[1]), x.ids(d[0])), plain


def cross_entropy_grad(d, x):
    a = x.leaf(d[0], d[1])
    y = F.cross_entropy(a, x.ids(d[0]))
    return grads(y, (a,), None), (), plain


def layernorm(d, x):
    return (lambda a, g, b: F.layer_norm(a, (d[1],), g, b)), (x(d[0], d[1]), x(d[1]), x(d[1])), plain


def layernorm_grad(d, x):
    p = (x.leaf(d[0], d[1]), x.leaf(d[1]), x.leaf(d[1]))
    return grads(F.layer_norm(p[0], (d[1],), p[1], p[2]), p, x(d[0], d[1])), (), plain


def rmsnorm(d, x):
    return (lambda a, g: F.rms_norm(a, (d[1],), g, 1e-6)), (x(d[0], d[1]), x(d[1])), plain


def rmsnorm_grad(d, x):
    p = (x.leaf(d[0], d[1]), x.leaf(d[1]))
    return grads(F.rms_norm(p[0], (d[1],), p[1], 1e-6), p, x(d[0], d[1])), (), plain


def group(d, a, g, b):
    y = F.group_norm(a, d[3], g, b)
    return F.silu(y) if d[4] else y


def groupnorm(d, x):
    a = last_to_first(x(d[0], d[1], d[1], d[2]))
    return (lambda a, g, b: group(d, a, g, b)), (a, x(d[2]), x(d[2])), first_to_last


def groupnorm_grad(d, x):
    a = last_to_first(x(d[0], d[1], d[1], d[2])).detach().requires_grad_()
    p = (a, x.leaf(d[2]), x.leaf(d[2]))
    ct = last_to_first(x(d[0], d[1], d[1], d[2]))
    return grads(group(d, *p), p, ct), (), lambda y: [y[0].movedim(1, -1), *y[1:]]


def batchnorm(d, x):
    return (lambda a, g, b: F.batch_norm(a, None, None, g, b, True)), (x(d[0], d[1]), x(d[1]), x(d[1])), plain


def batchnorm_grad(d, x):
    p = (x.leaf(d[0], d[1]), x.leaf(d[1]), x.leaf(d[1]))
    return grads(F.batch_norm(p[0], None, None, p[1], p[2], True), p, x(d[0], d[1])), (), plain


def embedding(d, x):
    w = x(d[2], d[1])
    return (lambda w, i: F.embedding(i, w)), (w, x.ids(d[0])), plain


def segment_sum(d, x):
    u = x(d[0], d[1])
    return (lambda u, i: u.new_zeros(d[2], d[1]).index_add_(0, i, u)), (u, x.ids(d[0])), plain


def segment_max(d, x):
    u, i = x(d[0], d[1]), x.ids(d[0])
    i = i[:, None].expand(-1, d[1])
    return (
        lambda u, i: u.new_zeros(d[2], d[1]).scatter_reduce_(0, i, u, "amax", include_self=False)
    ), (u, i), plain


def spmm(d, x):
    x.raw(1)  # indptr
    indptr = torch.arange(d[0] + 1) * (d[2] // d[0])
    a = torch.sparse_csr_tensor(indptr, x.ids(d[2]), x(d[2]), (d[0], d[3]))
    return torch.matmul, (a, x(d[3], d[1])), plain


def spmm_t(d, x):
    x.raw(1)  # indptr
    indptr = torch.arange(d[0] + 1) * (d[2] // d[0])
    a = torch.sparse_csr_tensor(indptr, x.ids(d[2]), x(d[2]), (d[0], d[3]))
    return (lambda a, b: torch.matmul(a.t(), b)), (a, x(d[0], d[1])), plain


def sddmm(d, x):
    x.raw(1)  # indptr
    row = torch.arange(d[0]).repeat_interleave(d[2] // d[0])
    return (lambda r, c, a, b: (a[r] * b[c]).sum(1)), (row, x.ids(d[2]), x(d[0], d[1]), x(d[3], d[1])), plain


def gather_along(d, x):
    return (lambda a, i: a.gather(1, i)), (x(d[0], d[2]), x.ids(d[0], d[1])), plain


def scatter_along(d, x):
    return (lambda u, i: u.new_zeros(d[0], d[2]).scatter_add_(1, i, u)), (x(d[0], d[1]), x.ids(d[0], d[1])), plain


def first_of_two(f):
    """Of values and positions the values are compared."""
    return lambda d, x: ((lambda a: f(a, d)), (x(d[0], d[1]),), lambda y: [y[0]])


def sgd(d, x):
    p, m, g = x(d[0]), x(d[0]), x(d[0])
    # rate 1e-3, momentum 0.9, out of place as the graph's outputs are
    return (lambda p, m, g: (p - 1e-3 * (0.9 * m + g), 0.9 * m + g)), (p, m, g), plain


def adamw(d, x):
    p, m, v, g = x(d[0]), x(d[0]), x(d[0]).abs(), x(d[0])
    first = [t.clone() for t in (p, m, v)]
    torch._fused_adamw_([first[0]], [g], [first[1]], [first[2]], [], [torch.tensor(9.0 + 1)], lr=1e-3, beta1=0.9,
                        beta2=0.999, weight_decay=0.01, eps=1e-8, amsgrad=False, maximize=False)  # fmt: skip

    def run():
        torch._fused_adamw_([p], [g], [m], [v], [], [torch.tensor(10.0)], lr=1e-3, beta1=0.9, beta2=0.999,
                            weight_decay=0.01, eps=1e-8, amsgrad=False, maximize=False)  # fmt: skip
        return first  # the first step's result; later runs go on from their own, as training does

    return run, (), plain


def image(f):
    return lambda d, x: (f, (last_to_first(x(d[0], d[1], d[1], d[2])),), first_to_last)


def image_grad(f):
    def build(d, x):
        a = last_to_first(torch.zeros(d[0], d[1], d[1], d[2])).detach().requires_grad_()  # its values play no part
        y = f(a)
        return grads(y, (a,), last_to_first(x(y.shape[0], *y.shape[2:], y.shape[1]))), (), first_to_last

    return build


def concat(d, x):
    a = last_to_first(x(d[0], d[1], d[1], d[2]))
    return (lambda a, b: torch.cat([a, b], 1)), (a, last_to_first(x(d[0], d[1], d[1], d[2]))), first_to_last


def lion(d, x):
    p, m, g = x(d[0]), x(d[0]), x(d[0])
    return (lambda p, m, g: (p - 1e-3 * (0.9 * m + 0.1 * g).sign(), 0.99 * m + 0.01 * g)), (p, m, g), plain


def complex_rows(f, columns):
    return lambda d, x: (f, (torch.view_as_complex(x(d[0], columns(d[1]), 2)),), plain)


def resize(mode):
    def build(d, x):
        a = last_to_first(x(d[0], d[1], d[1], d[2]))
        return (lambda a: F.interpolate(a, scale_factor=2, mode=mode)), (a,), first_to_last

    return build


KERNELS = {
    "matmul": matmul(False, False),
    "matmul_nt": matmul(False, True),
    "matmul_tn": matmul(True, False),
    "matmul_tt": matmul(True, True),
    "batched": matmul(False, False),
    "batched_nt": matmul(False, True),
    "packed_nt": matmul(False, True),
    "linear+gelu": linear_gelu,
    "linear+residual": linear_residual,
    "conv1d": conv(1),
    "conv2d": conv(2),
    "conv3d": conv(3),
    "depthwise": conv(2, lambda d: d[2]),
    "grouped32": conv(2, lambda d: 32),
    "conv1d_dx": conv_backward(1, True),
    "conv2d_dx": conv_backward(2, True),
    "conv3d_dx": conv_backward(3, True),
    "depthwise_dx": conv_backward(2, True, lambda d: d[2]),
    "conv1d_dw": conv_backward(1, False),
    "conv2d_dw": conv_backward(2, False),
    "conv3d_dw": conv_backward(3, False),
    "depthwise_dw": conv_backward(2, False, lambda d: d[2]),
    "nearest_up+conv2d": up_conv,
    "attention": attention,
    "attention_masked": attention_masked,
    "attention_grad": attention_grad,
    "softmax": rows(lambda a: torch.softmax(a, -1)),
    "softmax_grad": rows_grad(lambda a: torch.softmax(a, -1)),
    "log_softmax": rows(lambda a: torch.log_softmax(a, -1)),
    "cross_entropy": cross_entropy,
    "cross_entropy_grad": cross_entropy_grad,
    "layernorm": layernorm,
    "layernorm_grad": layernorm_grad,
    "rmsnorm": rmsnorm,
    "rmsnorm_grad": rmsnorm_grad,
    "groupnorm": groupnorm,
    "groupnorm_grad": groupnorm_grad,
    "batchnorm": batchnorm,
    "batchnorm_grad": batchnorm_grad,
    "add": lambda d, x: (torch.add, (x(d[0]), x(d[0])), plain),
    "mul_row": lambda d, x: (torch.mul, (x(d[0], d[1]), x(d[1])), plain),
    "exp": elements(torch.exp),
    "tanh": elements(torch.tanh),
    "erf": elements(torch.erf),
    "gelu": elements(F.gelu),
    "silu": elements(F.silu),
    "gelu_tanh": elements(lambda x: F.gelu(x, approximate="tanh")),
    "gelu_tanh_grad": elements_grad(lambda x: F.gelu(x, approximate="tanh")),
    "gelu_grad": elements_grad(F.gelu),
    "silu_grad": elements_grad(F.silu),
    "chain mul add sigmoid mul": lambda d, x: (
        (lambda a, b: torch.sigmoid(a * b + a) * b),
        (x(d[0]), x(d[0])),
        plain,
    ),
    "sum": rows(torch.sum),
    "sum_rows": rows(lambda a: a.sum(1)),
    "sum_columns": rows(lambda a: a.sum(0)),
    "max_rows": rows(lambda a: a.amax(1)),
    "transpose": rows(lambda a: a.T.contiguous()),
    "heads_first": lambda d, x: (lambda a: a.permute(0, 2, 1, 3).contiguous(), (x(*d[:4]),), plain),
    "channels_first": lambda d, x: (
        lambda a: a.permute(0, 3, 1, 2).contiguous(),
        (x(d[0], d[1], d[1], d[2]),),
        plain,
    ),
    "resize_nearest": resize("nearest"),
    "resize_bilinear": resize("bilinear"),
    "embedding": embedding,
    "embedding_grad": segment_sum,
    "segment_sum": segment_sum,
    "segment_max": segment_max,
    "spmm": spmm,
    "spmm_t": spmm_t,
    "sddmm": sddmm,
    "gather_along": gather_along,
    "scatter_along": scatter_along,
    "sort": first_of_two(lambda a, d: torch.sort(a, dim=-1, stable=True)),
    "top_k": first_of_two(lambda a, d: torch.topk(a, d[2], -1)),
    **{
        name: lambda d, x, f=f: (f, (x(d[0]), x(d[0])), plain)
        for name, f in {
            "sub": torch.sub, "mul": torch.mul, "div": torch.div, "maximum": torch.maximum, "minimum": torch.minimum,
            "eq": torch.eq, "ne": torch.ne, "lt": torch.lt, "le": torch.le,
        }.items()
    },  # fmt: skip
    **{
        name: elements(f)
        for name, f in {
            "neg": torch.neg, "abs": torch.abs, "sign": torch.sign, "floor": torch.floor, "square": torch.square,
            "log1p": torch.log1p, "sin": torch.sin, "cos": torch.cos, "sigmoid": torch.sigmoid, "relu": torch.relu,
            "softplus": F.softplus, "quick_gelu": lambda a: a * torch.sigmoid(1.702 * a),
            "leaky_relu": lambda a: F.leaky_relu(a, 0.01), "elu": F.elu, "clamp": lambda a: a.clamp(-0.25, 0.25),
            "to_bf16": lambda a: a.to(torch.bfloat16),
        }.items()
    },  # fmt: skip
    **{
        name: lambda d, x, f=f: (f, (x(d[0]).abs(),), plain)
        for name, f in {"log": torch.log, "sqrt": torch.sqrt, "rsqrt": torch.rsqrt}.items()
    },
    "pow": lambda d, x: (torch.pow, (x(d[0]).abs(), x(d[0])), plain),
    "where": lambda d, x: (
        (lambda a, b, m: torch.where(m, a, b)),
        (x(d[0]), x(d[0]), torch.from_numpy(x.raw(d[0]) > np.float32(-0.25))),
        plain,
    ),
    "log_softmax_grad": rows_grad(lambda a: torch.log_softmax(a, -1)),
    "sum_squares_rows": rows(lambda a: (a * a).sum(1)),
    "prod_rows": rows(lambda a: a.prod(1)),
    "min_rows": rows(lambda a: a.amin(1)),
    "max_columns": rows(lambda a: a.amax(0)),
    "argmax_rows": rows(lambda a: a.argmax(1)),
    "argmin_rows": rows(lambda a: a.argmin(1)),
    "argmax_columns": rows(lambda a: a.argmax(0)),
    "cumsum_rows": rows(lambda a: a.cumsum(1)),
    "cumsum_columns": rows(lambda a: a.cumsum(0)),
    "concat": concat,
    "pad": image(lambda a: F.pad(a, (0, 0, 1, 1))),
    "flip": image(lambda a: a.flip(3)),
    "unslice": image_grad(lambda a: a[:, :, ::2]),
    "avg_pool": image(lambda a: F.avg_pool2d(a, 2)),
    "avg_pool_grad": image_grad(lambda a: F.avg_pool2d(a, 2)),
    "max_pool": image(lambda a: F.max_pool2d(a, 3, 2, 1)),
    "resize_bilinear_grad": image_grad(lambda a: F.interpolate(a, scale_factor=2, mode="bilinear")),
    "lion": lion,
    "fft": complex_rows(lambda a: torch.view_as_real(torch.fft.fft(a)), lambda n: n),
    "irfft": lambda d, x: complex_rows(lambda a: torch.fft.irfft(a, d[1]), lambda n: n // 2 + 1)(d, x),
    "sgd": sgd,
    "adamw": adamw,
    "rfft": lambda d, x: (torch.fft.rfft, (x(d[0], d[1]),), lambda y: [torch.view_as_real(y)]),
}
# what the compiler hands to the same library call as eager mode, or cannot take in hand, is not asked of it
NOT_COMPILED = ("matmul", "batched", "packed", "conv", "depthwise", "grouped", "attention", "spmm", "adamw", "rfft", "fft",
                "irfft")


def sampled(t, m):
    t = t.detach().contiguous().to(torch.float64).reshape(-1)
    n = t.numel()
    at = torch.arange(min(n, m)) * n // min(n, m)
    return [x if x == x and abs(x) != float("inf") else None for x in t[at].tolist()]


def prepare(task):
    name = task["kernel"]
    if name not in KERNELS or (MODE == "compile" and (name.startswith(NOT_COMPILED) or name.endswith("_grad"))):
        return None, {"ok": False}
    torch.set_num_threads(task["threads"])
    f, args, ours = KERNELS[name](task["d"], Inputs(task["d"], DTYPES[task["dtype"]]))
    if MODE == "compile":
        torch._dynamo.reset()
        f = torch.compile(f)
    backward = not args
    with torch.enable_grad() if backward else torch.inference_mode():
        outputs = [sampled(t, task["compared"]) for t in ours(f(*args))]

    def run(n):
        with torch.enable_grad() if backward else torch.inference_mode():
            start = time.perf_counter()
            for _ in range(n):
                f(*args)
            return (time.perf_counter() - start) / n

    return run, {"ok": True, "outputs": outputs}


def main():
    # answers only on what was stdout; whatever else a library prints goes to stderr
    out = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    name = "torch.compile" if MODE == "compile" else "PyTorch"
    print(json.dumps({"version": f"{name} {torch.__version__}"}), file=out, flush=True)
    run = None
    for line in sys.stdin:
        task = json.loads(line)
        if "run" in task:
            answer = {"seconds": run(task["run"])}
        else:
            run = None
            try:
                run, answer = prepare(task)
            except Exception as e:
                print(f"torch {task['kernel']}: {type(e).__name__}: {e}", file=sys.stderr)
                answer = {"ok": False}
        print(json.dumps(answer), file=out, flush=True)


main()
