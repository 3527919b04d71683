"""tests/golden/sampler.inc: where diffusers' schedulers end with the exact denoiser of a mixture of
three Gaussians in the plane.

    python make_sampler.py > sampler.inc        # made with diffusers 0.42.1, torch 2.15.0

The schedulers' abar is replaced by its f64 value (they compute it in f32), so that differences are those of formulas."""
import logging, numpy as np, torch
from diffusers import (DDIMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler, FlowMatchEulerDiscreteScheduler,
                       PNDMScheduler, UniPCMultistepScheduler)

logging.disable(logging.WARNING)  # scale_model_input is not called on purpose
POINTS = torch.tensor([[1.0, -0.5], [-0.8, 0.9], [0.3, 0.2]], dtype=torch.float64)
SPREAD = 0.3
LOGW = torch.log(torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64))
START = torch.tensor([[1.3, -0.4], [-0.2, 0.7]], dtype=torch.float64)
BETAS = np.linspace(0.00085 ** 0.5, 0.012 ** 0.5, 1000) ** 2
ABAR = np.cumprod(1 - BETAS)


def exact(x, alpha, sigma, kind):
    d = x[:, None] - alpha * POINTS
    variance = sigma ** 2 + (alpha * SPREAD) ** 2
    w = torch.softmax(LOGW - (d ** 2).sum(-1) / (2 * variance), 1)
    eps = sigma * (x - alpha * w @ POINTS) / variance
    x0 = w @ POINTS + alpha * SPREAD ** 2 * (x - alpha * w @ POINTS) / variance
    return {"epsilon": eps, "sample": x0, "v_prediction": alpha * eps - sigma * x0, "flow": eps - x0}[kind]


def patched(s):
    s.alphas_cumprod = torch.tensor(ABAR)
    if hasattr(s, "final_alpha_cumprod") and not getattr(s.config, "set_alpha_to_one", False):
        s.final_alpha_cumprod = s.alphas_cumprod[0]
    return s


def run(s, steps, kind="epsilon", strength=None, **kw):
    s.set_timesteps(steps, **kw)
    x, times = START.clone(), s.timesteps
    for t in times:
        a = ABAR[int(t)] ** 0.5
        x = s.step(exact(x, a, (1 - a * a) ** 0.5, kind), t, x).prev_sample
    return x, times


def euler(steps):
    s = patched(EulerDiscreteScheduler(timestep_spacing="leading", steps_offset=1, **SD))
    s.set_timesteps(steps)
    x = START / ABAR[int(s.timesteps[0])] ** 0.5  # diffusers' x is x / alpha here
    for t, sigma in zip(s.timesteps, s.sigmas):
        a = float(1 / (1 + sigma.double() ** 2) ** 0.5)
        x = s.step(exact(x * a, a, (1 - a * a) ** 0.5, "epsilon"), t, x).prev_sample
    return x, s.timesteps


def flow(steps, shift):
    s = FlowMatchEulerDiscreteScheduler(shift=shift)
    s.set_timesteps(sigmas=np.linspace(1.0, 1.0 / steps, steps).tolist())
    x = START.clone()
    for t, sigma in zip(s.timesteps, s.sigmas[:-1].double()):
        x = s.step(exact(x, 1 - float(sigma), float(sigma), "flow"), t, x.double()).prev_sample
    return x, s.timesteps


def row(name, fields, result):
    x, times = result
    values = ", ".join("%.12g" % v for v in x.double().flatten())
    print('    {"%s", %s, %d, %.9g, {%s}},' % (name, fields, len(times), float(times[0]), values))


SD = dict(beta_start=0.00085, beta_end=0.012, beta_schedule="scaled_linear")
print("/* name, sampler, prediction, spacing, steps, offset, end_at_first, timesteps, the first, final x */")
for kind, c in (("epsilon", "EPS"), ("sample", "X0"), ("v_prediction", "V")):
    s = patched(DDIMScheduler(clip_sample=False, set_alpha_to_one=False, steps_offset=1, prediction_type=kind, **SD))
    row("ddim " + kind, f"GY_SAMPLER_DDIM, GY_PREDICT_{c}, GY_SPACING_LEADING, 20, 1, true", run(s, 20, kind))
s = patched(DDIMScheduler(clip_sample=False, set_alpha_to_one=True, timestep_spacing="trailing", **SD))
row("ddim trailing", "GY_SAMPLER_DDIM, GY_PREDICT_EPS, GY_SPACING_TRAILING, 25, 0, false", run(s, 25))
for n in (10, 20):
    s = patched(PNDMScheduler(skip_prk_steps=True, set_alpha_to_one=False, steps_offset=1, **SD))
    row("pndm", f"GY_SAMPLER_PNDM, GY_PREDICT_EPS, GY_SPACING_LEADING, {n}, 1, true", run(s, n))
for n in (10, 20):
    s = patched(DPMSolverMultistepScheduler(timestep_spacing="leading", steps_offset=1, **SD))
    row("dpm++", f"GY_SAMPLER_DPM, GY_PREDICT_EPS, GY_SPACING_LEADING_OPEN, {n}, 1, false", run(s, n))
s = patched(DPMSolverMultistepScheduler(prediction_type="v_prediction", final_sigmas_type="sigma_min", **SD))
row("dpm++ v", "GY_SAMPLER_DPM, GY_PREDICT_V, GY_SPACING_LINSPACE_OPEN, 20, 0, true", run(s, 20, "v_prediction"))
for n in (8, 20):
    s = patched(UniPCMultistepScheduler(**SD))
    row("unipc", f"GY_SAMPLER_UNIPC, GY_PREDICT_EPS, GY_SPACING_LINSPACE_OPEN, {n}, 0, false", run(s, n))
row("euler", "GY_SAMPLER_DDIM, GY_PREDICT_EPS, GY_SPACING_LEADING, 20, 1, false", euler(20))
row("flow", "GY_SAMPLER_DDIM, GY_PREDICT_FLOW, GY_SPACING_STRAIGHT, 12, 0, false", flow(12, 1.0))
row("flow shift 3", "GY_SAMPLER_DDIM, GY_PREDICT_FLOW, GY_SPACING_STRAIGHT, 12, 0, false", flow(12, 3.0))
