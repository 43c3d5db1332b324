"""Diffusion: denoisers of noised rows, how they are learned, drawn from, and distilled into a sampler of one step."""

from jensen.diffusion._teacher import Teacher, teacher
from jensen.diffusion.denoisers import Denoiser, GaussianDenoiser, NetworkDenoiser, network_denoiser
from jensen.diffusion.f_distillation import Distilled, FDistillation, distil, path_weights
from jensen.diffusion.noise import NoiseLevels
from jensen.diffusion.ratio import RatioNetwork, ratio_network
from jensen.diffusion.sampling import draw_by_denoising
from jensen.diffusion.score_matching import DenoisingScoreMatching, TrainedDenoiser, levels_for, train_denoiser

__all__ = [
    "Denoiser",
    "DenoisingScoreMatching",
    "Distilled",
    "FDistillation",
    "GaussianDenoiser",
    "NetworkDenoiser",
    "NoiseLevels",
    "RatioNetwork",
    "Teacher",
    "TrainedDenoiser",
    "distil",
    "draw_by_denoising",
    "levels_for",
    "network_denoiser",
    "path_weights",
    "ratio_network",
    "teacher",
    "train_denoiser",
]
