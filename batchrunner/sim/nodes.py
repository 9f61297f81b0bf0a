"""The node classes that the simulator knows: those of the LTX-2 graph, of an SDXL and a WAN graph, and ways to save.

Names, ranges and types are ComfyUI 0.3.64's own (PROTOCOL.md §3, §7), so that a workflow exported from there is
accepted or refused here as it would be there.
"""

from __future__ import annotations

from dataclasses import dataclass

from batchrunner.sim.catalogue import Catalogue, Input, NodeClass, choice, late_choice, link, real, text, whole

SEED_MAX = 2**64 - 1
_SIZE_MAX = 16384
_HIDDEN = {"prompt": "PROMPT", "extra_pnginfo": "EXTRA_PNGINFO"}

_SAMPLERS = """
euler euler_cfg_pp euler_ancestral euler_ancestral_cfg_pp heun heunpp2 dpm_2 dpm_2_ancestral lms dpm_fast
dpm_adaptive dpmpp_2s_ancestral dpmpp_2s_ancestral_cfg_pp dpmpp_sde dpmpp_sde_gpu dpmpp_2m dpmpp_2m_cfg_pp
dpmpp_2m_sde dpmpp_2m_sde_gpu dpmpp_2m_sde_heun dpmpp_2m_sde_heun_gpu dpmpp_3m_sde dpmpp_3m_sde_gpu ddpm lcm
ipndm ipndm_v deis res_multistep res_multistep_cfg_pp res_multistep_ancestral res_multistep_ancestral_cfg_pp
gradient_estimation gradient_estimation_cfg_pp er_sde seeds_2 seeds_3 sa_solver sa_solver_pece ddim uni_pc
uni_pc_bh2
"""
_SCHEDULERS = """
simple sgm_uniform karras exponential ddim_uniform beta normal linear_quadratic kl_optimal
"""
SAMPLERS = tuple(_SAMPLERS.split())
SCHEDULERS = tuple(_SCHEDULERS.split())


@dataclass(frozen=True, slots=True)
class Models:
    """The files that lie on the simulated server, by kind."""

    checkpoints: tuple[str, ...] = ("ltx-2-19b-distilled.safetensors", "sd_xl_base_1.0.safetensors")
    gemma: tuple[str, ...] = ("gemma-3-12b-it-qat-q4_0-unquantized/model-00001-of-00005.safetensors",)
    diffusion: tuple[str, ...] = ("wan2.1_t2v_1.3B_fp16.safetensors",)
    text_encoders: tuple[str, ...] = ("umt5_xxl_fp8_e4m3fn_scaled.safetensors",)
    vaes: tuple[str, ...] = ("wan_2.1_vae.safetensors",)


def catalogue(models: Models) -> Catalogue:
    """Return every node class, with the models that may be chosen."""
    return {**_loaders(models), **_ltx(), **_shared(), **_other_latents(), **_saves()}


def _loaders(models: Models) -> dict[str, NodeClass]:
    checkpoint = choice(*models.checkpoints)
    return {
        "CheckpointLoaderSimple": NodeClass({"ckpt_name": checkpoint}, ("MODEL", "CLIP", "VAE"), "load"),
        "LTXVGemmaCLIPModelLoader": NodeClass(
            {
                "gemma_path": choice(*models.gemma),
                "ltxv_path": choice("", *models.checkpoints),
                "max_length": whole(1024, 16, 131072, 8),
            },
            ("CLIP",),
            "load",
        ),
        "LTXVAudioVAELoader": NodeClass({"ckpt_name": late_choice(*models.checkpoints)}, ("VAE",), "load"),
        "UNETLoader": NodeClass(
            {"unet_name": choice(*models.diffusion), "weight_dtype": choice("default", "fp8_e4m3fn", "fp8_e5m2")},
            ("MODEL",),
            "load",
        ),
        "CLIPLoader": NodeClass(
            {"clip_name": choice(*models.text_encoders), "type": choice("stable_diffusion", "sd3", "ltxv", "wan")},
            ("CLIP",),
            "load",
        ),
        "VAELoader": NodeClass({"vae_name": choice(*models.vaes)}, ("VAE",), "load"),
    }


def _ltx() -> dict[str, NodeClass]:
    return {
        "EmptyLTXVLatentVideo": _latent(768, 512, 97, (64, 32, 8)),
        "LTXVEmptyLatentAudio": NodeClass(
            {
                "frames_number": whole(97, 1, 1000, 1),
                "frame_rate": whole(25, 1, 1000, 1),
                "batch_size": whole(1, 1, 4096),
                "audio_vae": link("VAE"),
            },
            ("LATENT",),
        ),
        "LTXVConcatAVLatent": NodeClass({"video_latent": link("LATENT"), "audio_latent": link("LATENT")}, ("LATENT",)),
        "LTXVSeparateAVLatent": NodeClass({"av_latent": link("LATENT")}, ("LATENT", "LATENT")),
        "LTXVConditioning": NodeClass(
            {
                "positive": link("CONDITIONING"),
                "negative": link("CONDITIONING"),
                "frame_rate": real(25.0, 0.0, 1000.0, 0.01),
            },
            ("CONDITIONING", "CONDITIONING"),
        ),
        "LTXVAudioVAEDecode": NodeClass({"samples": link("LATENT"), "audio_vae": link("VAE")}, ("AUDIO",), "decode"),
    }


def _shared() -> dict[str, NodeClass]:
    return {
        "CLIPTextEncode": NodeClass({"text": text(), "clip": link("CLIP")}, ("CONDITIONING",), "encode"),
        "KSampler": NodeClass(
            {
                "model": link("MODEL"),
                "seed": whole(0, 0, SEED_MAX),
                "steps": whole(20, 1, 10000),
                "cfg": real(8.0, 0.0, 100.0, 0.1),
                "sampler_name": choice(*SAMPLERS),
                "scheduler": choice(*SCHEDULERS),
                "positive": link("CONDITIONING"),
                "negative": link("CONDITIONING"),
                "latent_image": link("LATENT"),
                "denoise": real(1.0, 0.0, 1.0, 0.01),
            },
            ("LATENT",),
            "sample",
        ),
        "ModelSamplingSD3": NodeClass({"model": link("MODEL"), "shift": real(3.0, 0.0, 100.0, 0.01)}, ("MODEL",)),
        "VAEDecode": NodeClass({"samples": link("LATENT"), "vae": link("VAE")}, ("IMAGE",), "decode"),
        "CreateVideo": NodeClass(
            {"images": link("IMAGE"), "fps": real(30.0, 1.0, 120.0, 1.0), "audio": link("AUDIO", optional=True)},
            ("VIDEO",),
        ),
    }


def _other_latents() -> dict[str, NodeClass]:
    still = {"width": whole(512, 16, _SIZE_MAX, 8), "height": whole(512, 16, _SIZE_MAX, 8)}
    return {
        "EmptyLatentImage": NodeClass({**still, "batch_size": whole(1, 1, 4096)}, ("LATENT",), "latent"),
        "EmptySD3LatentImage": NodeClass({**still, "batch_size": whole(1, 1, 4096)}, ("LATENT",), "latent"),
        "EmptyHunyuanLatentVideo": _latent(848, 480, 25, (16, 16, 4)),
    }


def _latent(width: int, height: int, length: int, steps: tuple[int, int, int]) -> NodeClass:
    low, size, frames = steps
    inputs = {
        "width": whole(width, low, _SIZE_MAX, size),
        "height": whole(height, low, _SIZE_MAX, size),
        "length": whole(length, 1, _SIZE_MAX, frames),
        "batch_size": whole(1, 1, 4096),
    }
    return NodeClass(inputs, ("LATENT",), "latent")


def _saves() -> dict[str, NodeClass]:
    prefix = text("ComfyUI")
    return {
        "SaveVideo": _save(
            {
                "video": link("VIDEO"),
                "filename_prefix": text("video/ComfyUI"),
                "format": late_choice("auto", "mp4"),
                "codec": late_choice("auto", "h264"),
            }
        ),
        "VHS_VideoCombine": _save(
            {
                "images": link("IMAGE"),
                "frame_rate": real(8, 1, 240, 1),
                "loop_count": whole(0, 0, 100, 1),
                "filename_prefix": text("AnimateDiff"),
                "format": choice("image/gif", "image/webp", "video/h264-mp4", "video/webm"),
                "pingpong": Input("BOOLEAN", default=False),
                "save_output": Input("BOOLEAN", default=True),
                "audio": link("AUDIO", optional=True),
            }
        ),
        "SaveImage": _save({"images": link("IMAGE"), "filename_prefix": prefix}),
        "PreviewImage": _save({"images": link("IMAGE")}),
        "SaveAudio": _save({"audio": link("AUDIO"), "filename_prefix": text("audio/ComfyUI")}),
        "PreviewAudio": _save({"audio": link("AUDIO")}),
        "SaveWEBM": _save(
            {
                "images": link("IMAGE"),
                "filename_prefix": prefix,
                "codec": choice("vp9", "av1"),
                "fps": real(24.0, 0.01, 1000.0, 0.01),
                "crf": real(32.0, 0, 63.0, 1),
            }
        ),
        "SaveAnimatedWEBP": _save(
            {
                "images": link("IMAGE"),
                "filename_prefix": prefix,
                "fps": real(6.0, 0.01, 1000.0, 0.01),
                "lossless": Input("BOOLEAN", default=True),
                "quality": whole(80, 0, 100),
                "method": choice("default", "fastest", "slowest"),
            }
        ),
    }


def _save(inputs: dict[str, Input]) -> NodeClass:
    return NodeClass(inputs, (), "save", hidden=_HIDDEN)
