"""Reference values for layers on graphs and for total influence: city_networks.safetensors.

    pip install torch numpy safetensors torch_geometric && python tests/golden/make_city_networks.py

Written with torch 2.15.0, torch_geometric 2.8.1, safetensors 0.8.0; f32 results of an f64 computation. GraphSAGE, GCN, GAT
and ChebConv are torch_geometric's own; SGFormer is written here from the formulas of the official code, on a dense
adjacency matrix. A random graph of 16 nodes, one of them isolated, 6 features, width 5, 3 classes, 3 layers (SGFormer 2).
Each network's parameters are below its name ("sage.convs.0.lin_l.weight"). Beside them
    test/x, test/indptr, test/indices         the graph
    test/NAME.out                             [16, 3]
    test/NAME.grad_x                          of sum(out * w), w_ij = sin(3 i + j)
    test/NAME.grad.PARAMETER                  likewise, of the first and last parameters
    test/NAME.influence                       [3, 4]: T_0 .. T_3 of nodes 0, 3, 7, by torch_geometric.utils
"""
import os
import torch
import torch.nn as nn
import torch.nn.functional as F
from safetensors.torch import save_file
from torch_geometric.data import Data
from torch_geometric.nn import GAT, GCN, ChebConv, GraphSAGE
from torch_geometric.utils.influence import jacobian_l1_agg_per_hop

HERE = os.path.dirname(os.path.abspath(__file__))
torch.manual_seed(20260509)
torch.set_default_dtype(torch.float64)
N, IN, WIDTH, OUT, HOPS, NODES = 16, 6, 5, 3, 3, (0, 3, 7)

pairs = {(i, i + 1) for i in range(N - 2)} | {(0, 5), (2, 9), (3, 12), (4, 7), (8, 13)}  # node 15 stays alone
pairs -= {(6, 7)}
both = sorted(pairs | {(b, a) for a, b in pairs})
indptr = torch.tensor([sum(a < i for a, _ in both) for i in range(N + 1)])
indices = torch.tensor([b for _, b in both])
edge_index = torch.tensor(both).t().contiguous()
edge_index = edge_index.flip(0)  # torch_geometric sends from row 0 to row 1; the graph is symmetric
x = torch.randn(N, IN)


class ChebNet(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_proj, self.output_proj = nn.Linear(IN, WIDTH), nn.Linear(WIDTH, OUT)
        self.convs = nn.ModuleList(ChebConv(WIDTH, WIDTH, K=2) for _ in range(3))

    def forward(self, x, edge_index):
        h = F.silu(self.input_proj(x))
        for conv in self.convs:
            h = F.silu(conv(h, edge_index))
        return self.output_proj(h)


class Branch(nn.Module):
    def __init__(self, first, norms, layers):
        super().__init__()
        self.fcs, self.bns, self.convs = nn.ModuleList([first]), nn.ModuleList(norms), nn.ModuleList(layers)


class Attention(nn.Module):
    def __init__(self):
        super().__init__()
        self.Wk, self.Wq, self.Wv = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x):
        q, k, v, n = self.Wq(x), self.Wk(x), self.Wv(x), x.shape[0]
        a = (q / q.norm()) @ (k / k.norm()).t() + n * torch.eye(n)
        return a @ v / ((q / q.norm()) @ (k / k.norm()).sum(0) + n)[:, None]


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.W = nn.Linear(WIDTH, WIDTH)


class SGFormer(nn.Module):
    def __init__(self):
        super().__init__()
        self.trans_conv = Branch(nn.Linear(IN, WIDTH), [nn.LayerNorm(WIDTH) for _ in range(2)], [Attention()])
        self.graph_conv = Branch(nn.Linear(IN, WIDTH), [nn.BatchNorm1d(WIDTH) for _ in range(3)],
                                 [Layer() for _ in range(2)])
        self.fc = nn.Linear(WIDTH, OUT)
        for b in self.graph_conv.bns:
            b.running_mean.normal_()
            b.running_var.uniform_(0.5, 2)

    def forward(self, x, edge_index):
        t, g = self.trans_conv, self.graph_conv
        a = torch.relu(t.bns[0](t.fcs[0](x)))
        a = t.bns[1]((t.convs[0](a) + a) / 2)
        A = torch.zeros(N, N)
        A[edge_index[1], edge_index[0]] = 1
        d = A.sum(1).clamp(min=1).rsqrt()
        A = d[:, None] * A * d
        b = first = torch.relu(g.bns[0](g.fcs[0](x)))
        for conv, bn in zip(g.convs, list(g.bns)[1:]):
            b = torch.relu(bn(conv.W(A @ b))) + first
        return self.fc(0.8 * b + 0.2 * a)


networks = {"sage": GraphSAGE(IN, WIDTH, 3, OUT), "gcn": GCN(IN, WIDTH, 3, OUT), "gat": GAT(IN, WIDTH, 3, OUT),
            "cheb": ChebNet(), "sgformer": SGFormer()}
weight = torch.sin(3.0 * torch.arange(N)[:, None] + torch.arange(OUT))
out = {"test/x": x, "test/indptr": indptr, "test/indices": indices}
for name, net in networks.items():
    net = net.double().eval()
    for p in net.parameters():
        if p.dim() == 1:  # biases and gains start at 0 and 1, which would hide mistakes
            p.data += 0.3 * torch.randn_like(p)
    for k, v in net.state_dict().items():
        if "num_batches" not in k:
            out[f"{name}.{k}"] = v
    at = x.clone().requires_grad_()
    y = net(at, edge_index)
    (y * weight).sum().backward()
    out[f"test/{name}.out"], out[f"test/{name}.grad_x"] = y, at.grad
    for k, p in list(net.named_parameters()):
        out[f"test/{name}.grad.{k}"] = p.grad
    if name == "sgformer":
        continue
    data = Data(x=x, edge_index=edge_index)
    out[f"test/{name}.influence"] = torch.stack([jacobian_l1_agg_per_hop(net, data, HOPS, v, "cpu") for v in NODES])
save_file({k: (v.detach().float() if v.is_floating_point() else v).contiguous() for k, v in out.items()},
          os.path.join(HERE, "city_networks.safetensors"))
