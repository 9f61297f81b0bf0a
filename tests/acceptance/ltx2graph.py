"""The workflow of the deployed server's own document, its fifteen nodes written out once more."""

from __future__ import annotations

from typing import Any

CHECKPOINT = "ltx-2-19b-distilled.safetensors"
GEMMA = "gemma-3-12b-it-qat-q4_0-unquantized/model-00001-of-00005.safetensors"


def ltx2(
    *,
    text: str = "A cat",
    negative: str = "blurry",
    width: int = 768,
    height: int = 512,
    length: int = 25,
    fps: int = 24,
    batch_size: int = 1,
    seed: int = 42,
    steps: int = 20,
    cfg: float = 4.0,
    prefix: str = "generated-video",
) -> dict[str, Any]:
    """Return the graph with each parameter in every place that must agree on it."""
    return {
        "1": {"inputs": {"ckpt_name": CHECKPOINT}, "class_type": "CheckpointLoaderSimple"},
        "2": {
            "inputs": {"gemma_path": GEMMA, "ltxv_path": CHECKPOINT, "max_length": 1024},
            "class_type": "LTXVGemmaCLIPModelLoader",
        },
        "3": {"inputs": {"ckpt_name": CHECKPOINT}, "class_type": "LTXVAudioVAELoader"},
        "4": {
            "inputs": {"width": width, "height": height, "length": length, "batch_size": batch_size},
            "class_type": "EmptyLTXVLatentVideo",
        },
        "5": {
            "inputs": {"frames_number": length, "frame_rate": fps, "batch_size": batch_size, "audio_vae": ["3", 0]},
            "class_type": "LTXVEmptyLatentAudio",
        },
        "6": {"inputs": {"video_latent": ["4", 0], "audio_latent": ["5", 0]}, "class_type": "LTXVConcatAVLatent"},
        "7": {"inputs": {"text": text, "clip": ["2", 0]}, "class_type": "CLIPTextEncode"},
        "8": {"inputs": {"text": negative, "clip": ["2", 0]}, "class_type": "CLIPTextEncode"},
        "9": {
            "inputs": {"positive": ["7", 0], "negative": ["8", 0], "frame_rate": fps},
            "class_type": "LTXVConditioning",
        },
        "10": {
            "inputs": {
                "seed": seed,
                "steps": steps,
                "cfg": cfg,
                "sampler_name": "euler",
                "scheduler": "simple",
                "denoise": 1,
                "model": ["1", 0],
                "positive": ["9", 0],
                "negative": ["9", 1],
                "latent_image": ["6", 0],
            },
            "class_type": "KSampler",
        },
        "11": {"inputs": {"av_latent": ["10", 0]}, "class_type": "LTXVSeparateAVLatent"},
        "12": {"inputs": {"samples": ["11", 0], "vae": ["1", 2]}, "class_type": "VAEDecode"},
        "13": {"inputs": {"samples": ["11", 1], "audio_vae": ["3", 0]}, "class_type": "LTXVAudioVAEDecode"},
        "14": {"inputs": {"fps": fps, "images": ["12", 0], "audio": ["13", 0]}, "class_type": "CreateVideo"},
        "15": {
            "inputs": {"filename_prefix": prefix, "format": "mp4", "codec": "h264", "video": ["14", 0]},
            "class_type": "SaveVideo",
        },
    }
