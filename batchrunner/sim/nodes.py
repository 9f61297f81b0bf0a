"""The node classes that the simulator knows, as `/object_info` shows them and `POST /prompt` checks them.

They are those of an LTX-2, an SDXL and a WAN workflow and the nodes that save. Names, ranges and types are those of
ComfyUI 0.3.64, so that a workflow exported from there is accepted or refused as it would be there.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from mimetypes import guess_type
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from batchrunner.core.job import Json

Catalogue: TypeAlias = "Mapping[str, NodeClass]"
ANY = "*"
"""The type of inputs and outputs that fit everything."""
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
_SCHEDULERS = "simple sgm_uniform karras exponential ddim_uniform beta normal linear_quadratic kl_optimal"


@dataclass(frozen=True, slots=True)
class Input:
    """One input of a node class: a number with a range, a text, a choice, or a link to another node."""

    type: str
    """`INT`, `FLOAT`, `STRING`, `BOOLEAN`, `COMBO`, or the type of a link such as `LATENT`."""
    default: Json = None
    low: float | None = None
    high: float | None = None
    step: float | None = None
    choices: tuple[str, ...] = ()
    late: bool = False
    """Whether a choice is checked only when its node runs: V3 nodes of 0.3.64 (docs/comfyui.md §3)."""
    optional: bool = False
    media: str = ""
    """`image`, `video` or `audio`: the value names a file of this kind, which may be uploaded (docs/comfyui.md §22)."""
    files: Callable[[], list[str]] = list
    """The names that are listed as choices of a media input; a value need not be among them."""

    def limits(self) -> dict[str, Json]:
        """Return the second half of the input's description: default, range and step, as far as there are any."""
        named: dict[str, Json] = {"default": self.default, "min": self.low, "max": self.high, "step": self.step}
        return {name: value for name, value in named.items() if value is not None}

    def described(self, *, any_choice: bool = False) -> list[Json]:
        """Return the input as `/object_info` has it: V1 choices are a list, V3 choices are named."""
        if self.type != "COMBO":
            return [self.type, self.limits()]
        if any_choice:
            return [ANY, {}]
        choices: list[Json] = list(self.choices)
        if self.media:
            choices = [name for name in self.files() if self.media in (guess_type(name)[0] or "")]
            flag: dict[str, Json] = {f"{self.media}_upload": True}
            return ["COMBO", {"multiselect": False, "options": choices, **flag}] if self.late else [choices, flag]
        if self.late:
            return ["COMBO", {**self.limits(), "multiselect": False, "options": choices}]
        return [choices, self.limits()]


@dataclass(frozen=True, slots=True)
class NodeClass:
    """A class of nodes. `kind` says what executing one does, and for how long (see `Pace`)."""

    inputs: Mapping[str, Input]
    outputs: tuple[str, ...] = ()
    kind: str = ""
    """`load`, `read` (a media file), `encode`, `latent`, `sample`, `decode`, `save`, or nothing that takes time."""
    category: str = "sim"
    hidden: Mapping[str, str] = field(default_factory=dict)

    @property
    def saves(self) -> bool:
        """Whether it is an output node."""
        return self.kind == "save"

    def described(self, name: str, *, any_choice: bool = False) -> dict[str, Json]:
        """Return the class as `/object_info` has it."""
        required = {key: item for key, item in self.inputs.items() if not item.optional}
        optional = {key: item for key, item in self.inputs.items() if item.optional}
        shown: dict[str, Json] = {
            "required": {key: item.described(any_choice=any_choice) for key, item in required.items()}
        }
        order: dict[str, Json] = {"required": list(required)}
        if optional:
            shown["optional"] = {key: item.described(any_choice=any_choice) for key, item in optional.items()}
            order["optional"] = list(optional)
        if self.hidden:
            shown["hidden"] = dict(self.hidden)
            order["hidden"] = list(self.hidden)
        return {
            "input": shown,
            "input_order": order,
            "output": list(self.outputs),
            "output_is_list": [False] * len(self.outputs),
            "output_name": list(self.outputs),
            "name": name,
            "display_name": name,
            "description": "",
            "python_module": "nodes",
            "category": self.category,
            "output_node": self.saves,
        }


def object_info(catalogue: Catalogue, names: Iterable[str] | None = None, *, strict: bool = True) -> dict[str, Json]:
    """Return what `/object_info` answers, for all classes or those of `names` that exist.

    Unless `strict`, any choice is described as of any type, and the class `*`, which no real server has, says that
    every other class is taken.
    """
    wanted = catalogue if names is None else [name for name in names if name in catalogue]
    described: dict[str, Json] = {} if strict or names is not None else {ANY: NodeClass({}).described(ANY)}
    return described | {name: catalogue[name].described(name, any_choice=not strict) for name in wanted}


def _whole(default: int, low: int, high: int, step: int | None = None) -> Input:
    return Input("INT", default, low, high, step)


def _real(default: float, low: float, high: float, step: float) -> Input:
    return Input("FLOAT", default, low, high, step)


def _text(default: str = "") -> Input:
    return Input("STRING", default)


def _choice(*choices: str) -> Input:
    return Input("COMBO", choices=choices)


def _late_choice(*choices: str) -> Input:
    return Input("COMBO", choices[0] if choices else None, choices=choices, late=True)


def _link(kind: str, *, optional: bool = False) -> Input:
    return Input(kind, optional=optional)


@dataclass(frozen=True, slots=True)
class Models:
    """The model files on the simulated server, by kind."""

    checkpoints: tuple[str, ...] = ("ltx-2-19b-distilled.safetensors", "sd_xl_base_1.0.safetensors")
    gemma: tuple[str, ...] = ("gemma-3-12b-it-qat-q4_0-unquantized/model-00001-of-00005.safetensors",)
    diffusion: tuple[str, ...] = ("wan2.1_t2v_1.3B_fp16.safetensors",)
    text_encoders: tuple[str, ...] = ("umt5_xxl_fp8_e4m3fn_scaled.safetensors",)
    vaes: tuple[str, ...] = ("wan_2.1_vae.safetensors",)


def catalogue(models: Models, files: Callable[[], list[str]] = list) -> Catalogue:
    """Return every node class, with the models and the input files that may be chosen."""
    return {**_loaders(models), **_media(files), **_ltx(), **_shared(), **_other_latents(), **_saves()}


def _loaders(models: Models) -> dict[str, NodeClass]:
    checkpoint = _choice(*models.checkpoints)
    return {
        "CheckpointLoaderSimple": NodeClass({"ckpt_name": checkpoint}, ("MODEL", "CLIP", "VAE"), "load"),
        "LTXVGemmaCLIPModelLoader": NodeClass(
            {
                "gemma_path": _choice(*models.gemma),
                "ltxv_path": _choice("", *models.checkpoints),
                "max_length": _whole(1024, 16, 131072, 8),
            },
            ("CLIP",),
            "load",
        ),
        "LTXVAudioVAELoader": NodeClass({"ckpt_name": _late_choice(*models.checkpoints)}, ("VAE",), "load"),
        "UNETLoader": NodeClass(
            {"unet_name": _choice(*models.diffusion), "weight_dtype": _choice("default", "fp8_e4m3fn", "fp8_e5m2")},
            ("MODEL",),
            "load",
        ),
        "CLIPLoader": NodeClass(
            {"clip_name": _choice(*models.text_encoders), "type": _choice("stable_diffusion", "sd3", "ltxv", "wan")},
            ("CLIP",),
            "load",
        ),
        "VAELoader": NodeClass({"vae_name": _choice(*models.vaes)}, ("VAE",), "load"),
    }


def _media(files: Callable[[], list[str]]) -> dict[str, NodeClass]:
    image = Input("COMBO", media="image", files=files)
    video = Input("COMBO", late=True, media="video", files=files)
    audio = Input("COMBO", media="audio", files=files)
    return {
        "LoadImage": NodeClass({"image": image}, ("IMAGE", "MASK"), "read"),
        "LoadImageMask": NodeClass(
            {"image": image, "channel": _choice("alpha", "red", "green", "blue")}, ("MASK",), "read"
        ),
        "LoadVideo": NodeClass({"file": video}, ("VIDEO",), "read"),
        "LoadAudio": NodeClass({"audio": audio}, ("AUDIO",), "read"),
        "GetVideoComponents": NodeClass({"video": _link("VIDEO")}, ("IMAGE", "AUDIO", "FLOAT")),
        "VAEEncode": NodeClass({"pixels": _link("IMAGE"), "vae": _link("VAE")}, ("LATENT",), "encode"),
    }


def _ltx() -> dict[str, NodeClass]:
    return {
        "EmptyLTXVLatentVideo": _latent(768, 512, 97, (64, 32, 8)),
        "LTXVEmptyLatentAudio": NodeClass(
            {
                "frames_number": _whole(97, 1, 1000, 1),
                "frame_rate": _whole(25, 1, 1000, 1),
                "batch_size": _whole(1, 1, 4096),
                "audio_vae": _link("VAE"),
            },
            ("LATENT",),
        ),
        "LTXVConcatAVLatent": NodeClass(
            {"video_latent": _link("LATENT"), "audio_latent": _link("LATENT")}, ("LATENT",)
        ),
        "LTXVSeparateAVLatent": NodeClass({"av_latent": _link("LATENT")}, ("LATENT", "LATENT")),
        "LTXVConditioning": NodeClass(
            {
                "positive": _link("CONDITIONING"),
                "negative": _link("CONDITIONING"),
                "frame_rate": _real(25.0, 0.0, 1000.0, 0.01),
            },
            ("CONDITIONING", "CONDITIONING"),
        ),
        "LTXVAudioVAEDecode": NodeClass({"samples": _link("LATENT"), "audio_vae": _link("VAE")}, ("AUDIO",), "decode"),
    }


def _shared() -> dict[str, NodeClass]:
    return {
        "CLIPTextEncode": NodeClass({"text": _text(), "clip": _link("CLIP")}, ("CONDITIONING",), "encode"),
        "KSampler": NodeClass(
            {
                "model": _link("MODEL"),
                "seed": _whole(0, 0, SEED_MAX),
                "steps": _whole(20, 1, 10000),
                "cfg": _real(8.0, 0.0, 100.0, 0.1),
                "sampler_name": _choice(*_SAMPLERS.split()),
                "scheduler": _choice(*_SCHEDULERS.split()),
                "positive": _link("CONDITIONING"),
                "negative": _link("CONDITIONING"),
                "latent_image": _link("LATENT"),
                "denoise": _real(1.0, 0.0, 1.0, 0.01),
            },
            ("LATENT",),
            "sample",
        ),
        "ModelSamplingSD3": NodeClass({"model": _link("MODEL"), "shift": _real(3.0, 0.0, 100.0, 0.01)}, ("MODEL",)),
        "VAEDecode": NodeClass({"samples": _link("LATENT"), "vae": _link("VAE")}, ("IMAGE",), "decode"),
        "CreateVideo": NodeClass(
            {"images": _link("IMAGE"), "fps": _real(30.0, 1.0, 120.0, 1.0), "audio": _link("AUDIO", optional=True)},
            ("VIDEO",),
        ),
    }


def _other_latents() -> dict[str, NodeClass]:
    still = {"width": _whole(512, 16, _SIZE_MAX, 8), "height": _whole(512, 16, _SIZE_MAX, 8)}
    return {
        "EmptyLatentImage": NodeClass({**still, "batch_size": _whole(1, 1, 4096)}, ("LATENT",), "latent"),
        "EmptySD3LatentImage": NodeClass({**still, "batch_size": _whole(1, 1, 4096)}, ("LATENT",), "latent"),
        "EmptyHunyuanLatentVideo": _latent(848, 480, 25, (16, 16, 4)),
    }


def _latent(width: int, height: int, length: int, steps: tuple[int, int, int]) -> NodeClass:
    low, size, frames = steps
    inputs = {
        "width": _whole(width, low, _SIZE_MAX, size),
        "height": _whole(height, low, _SIZE_MAX, size),
        "length": _whole(length, 1, _SIZE_MAX, frames),
        "batch_size": _whole(1, 1, 4096),
    }
    return NodeClass(inputs, ("LATENT",), "latent")


def _saves() -> dict[str, NodeClass]:
    prefix = _text("ComfyUI")
    return {
        "SaveVideo": _save(
            {
                "video": _link("VIDEO"),
                "filename_prefix": _text("video/ComfyUI"),
                "format": _late_choice("auto", "mp4"),
                "codec": _late_choice("auto", "h264"),
            }
        ),
        "VHS_VideoCombine": _save(
            {
                "images": _link("IMAGE"),
                "frame_rate": _real(8, 1, 240, 1),
                "loop_count": _whole(0, 0, 100, 1),
                "filename_prefix": _text("AnimateDiff"),
                "format": _choice("image/gif", "image/webp", "video/h264-mp4", "video/webm"),
                "pingpong": Input("BOOLEAN", default=False),
                "save_output": Input("BOOLEAN", default=True),
                "audio": _link("AUDIO", optional=True),
            }
        ),
        "SaveImage": _save({"images": _link("IMAGE"), "filename_prefix": prefix}),
        "PreviewImage": _save({"images": _link("IMAGE")}),
        "SaveAudio": _save({"audio": _link("AUDIO"), "filename_prefix": _text("audio/ComfyUI")}),
        "PreviewAudio": _save({"audio": _link("AUDIO")}),
        "SaveWEBM": _save(
            {
                "images": _link("IMAGE"),
                "filename_prefix": prefix,
                "codec": _choice("vp9", "av1"),
                "fps": _real(24.0, 0.01, 1000.0, 0.01),
                "crf": _real(32.0, 0, 63.0, 1),
            }
        ),
        "SaveAnimatedWEBP": _save(
            {
                "images": _link("IMAGE"),
                "filename_prefix": prefix,
                "fps": _real(6.0, 0.01, 1000.0, 0.01),
                "lossless": Input("BOOLEAN", default=True),
                "quality": _whole(80, 0, 100),
                "method": _choice("default", "fastest", "slowest"),
            }
        ),
    }


def _save(inputs: dict[str, Input]) -> NodeClass:
    return NodeClass(inputs, (), "save", hidden=_HIDDEN)
