"""Diffusers pipelines as generators: real pipelines, tiny and randomly initialised, saved by the tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from engine.config import Settings
from engine.errors import GeneratorError, InvalidManifest, MissingWeights, SourceNotFound
from engine.samples import GeneratorSource, open_source, options_to_generator
from engine.samples.generators import draw
from engine.samples.generators.diffusers import DiffusersGenerator

SETTINGS = Settings(device="cpu")


@pytest.fixture(scope="module", autouse=True)
def _offline_on_one_thread() -> Any:
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # networks this small only wait for each other's threads
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_HUB_OFFLINE", "1")
        import huggingface_hub.constants

        patch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
        yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def unconditional(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from diffusers import DDPMPipeline, DDPMScheduler, UNet2DModel

    torch.manual_seed(0)
    unet = UNet2DModel(
        sample_size=8, in_channels=3, out_channels=3, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4,
        down_block_types=("DownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("ddpm")
    DDPMPipeline(unet, DDPMScheduler(num_train_timesteps=10)).save_pretrained(folder, safe_serialization=True)
    return folder


@pytest.fixture(scope="module")
def text_to_image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    import torch
    from diffusers import AutoencoderKL, DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sd")
    letters = [*"abcdefghijklmnopqrstuvwxyz"]
    tokens = ["<|startoftext|>", "<|endoftext|>", *letters, *(letter + "</w>" for letter in letters)]
    words = folder / "words"
    words.mkdir()
    (words / "vocab.json").write_text(json.dumps({token: number for number, token in enumerate(tokens)}))
    (words / "merges.txt").write_text("#version: 0.2\n")
    tokenizer = CLIPTokenizer(str(words / "vocab.json"), str(words / "merges.txt"), model_max_length=16)
    text = CLIPTextConfig(
        vocab_size=len(tokens), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=16, bos_token_id=0, eos_token_id=1,
    )  # fmt: skip
    unet = UNet2DConditionModel(
        sample_size=8, layers_per_block=1, block_out_channels=(8, 8), norm_num_groups=4, cross_attention_dim=16,
        attention_head_dim=2, down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
    )  # fmt: skip
    pipeline = StableDiffusionPipeline(
        vae=AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=4),
        text_encoder=CLIPTextModel(text), tokenizer=tokenizer, unet=unet,
        scheduler=DDIMScheduler(num_train_timesteps=10, steps_offset=1, clip_sample=False),
        safety_checker=None, feature_extractor=None,
        requires_safety_checker=False,
    )  # fmt: skip
    pipeline.save_pretrained(folder / "model", safe_serialization=True)
    return folder / "model"


def make(model: Path, **options: Any) -> Any:
    return options_to_generator({"type": "diffusers", "model": str(model), **options}, settings=SETTINGS)


def pixels(images: list[Any]) -> NDArray[np.uint8]:
    return np.stack([np.asarray(image) for image in images])


def test_unconditional(unconditional: Path) -> None:
    generator = make(unconditional, steps=2)
    first = pixels(generator.draw(3, 5))
    assert first.shape == (3, 8, 8, 3)
    assert np.array_equal(first, pixels(generator.draw(3, 5)))
    assert not np.array_equal(first, pixels(generator.draw(3, 6)))
    assert len(np.unique(first.reshape(3, -1), axis=0)) == 3


def test_prompts_go_round_from_a_place_that_the_seed_gives(text_to_image: Path) -> None:
    generator = make(text_to_image, prompts=["a b", "c", "d"], steps=1, guidance_scale=2, width=8, height=8)
    generator.draw(1, 0)
    arguments = generator._call_arguments(5, 7)
    assert arguments["prompt"] == ["c", "d", "a b", "c", "d"]  # 7 mod 3 = 1
    one = pixels(generator.draw(4, 7))
    assert one.shape == (4, 8, 8, 3)
    assert np.array_equal(one, pixels(generator.draw(4, 7)))
    other = make(text_to_image, prompts=["x", "y", "z"], steps=1, guidance_scale=2, width=8, height=8)
    assert not np.array_equal(one, pixels(other.draw(4, 7))), "the prompts must matter"


def test_the_record_draws_the_same_again(text_to_image: Path) -> None:
    options = {
        "type": "diffusers", "model": text_to_image.name, "prompts": ["a", "b"], "negative_prompt": "c",
        "steps": 1, "guidance_scale": 3.0, "width": 8, "height": 8, "batch": 2,
    }  # fmt: skip
    source = open_source({"generator": options}, settings=SETTINGS, samples=3, base=text_to_image.parent)
    assert isinstance(source, GeneratorSource)
    described = json.loads(json.dumps(source.describe()))
    assert described["generator"]["model"] == str(text_to_image)
    again = draw(described["generator"], 3, 0, settings=SETTINGS)
    assert [image.tobytes() for image in again] == [sample.load().tobytes() for sample in source.samples()]


def test_options_that_the_pipeline_does_not_take(unconditional: Path, text_to_image: Path) -> None:
    with pytest.raises(InvalidManifest, match="does not take prompts") as caught:
        make(unconditional, prompts=["a"]).draw(1, 0)
    assert "prompts" in (caught.value.hint or "")
    with pytest.raises(InvalidManifest, match="does not take guidance_scale"):
        make(unconditional, guidance_scale=3).draw(1, 0)
    with pytest.raises(InvalidManifest, match="no prompts"):
        make(text_to_image).draw(1, 0)


def test_a_pipeline_that_fails(text_to_image: Path) -> None:
    with pytest.raises(GeneratorError, match="failed: ValueError"):
        make(text_to_image, prompts=["a"], width=9, height=8).draw(1, 0)


def test_a_model_without_safetensors(unconditional: Path, tmp_path: Path) -> None:
    (tmp_path / "unet").mkdir()
    for name in ("model_index.json", "unet/config.json"):
        (tmp_path / name).write_text((unconditional / name).read_text())
    (tmp_path / "unet" / "diffusion_pytorch_model.bin").write_bytes(b"\x80\x04pickle")
    with pytest.raises(MissingWeights, match=r"no \.safetensors") as caught:
        make(tmp_path).draw(1, 0)
    assert "safe_serialization" in (caught.value.hint or "")


@pytest.mark.filterwarnings("ignore:The `local_dir_use_symlinks` argument:UserWarning")  # diffusers to its own hub
def test_a_model_on_a_hub_that_cannot_be_reached() -> None:
    generator = options_to_generator({"type": "diffusers", "model": "nobody/no-such-model"}, settings=SETTINGS)
    with pytest.raises(MissingWeights, match="nobody/no-such-model") as caught:
        generator.draw(1, 0)
    assert "folder" in (caught.value.hint or "")


@pytest.mark.parametrize("model", ["./absent", "/absent/model", "~/absent", "a/b/c"])
def test_a_folder_that_is_not_there(tmp_path: Path, model: str) -> None:
    with pytest.raises(SourceNotFound, match="no folder"):
        options_to_generator({"type": "diffusers", "model": model}, base=tmp_path)


def changed_index(source: Path, target: Path, **changes: Any) -> Path:
    import shutil

    shutil.copytree(source, target)
    index = json.loads((target / "model_index.json").read_text())
    (target / "model_index.json").write_text(json.dumps({**index, **changes}))
    return target


def test_code_that_comes_with_a_model_is_never_run(unconditional: Path, tmp_path: Path) -> None:
    code = f"open({str(tmp_path / 'ran')!r}, 'w').close()\n"
    for number, changes in enumerate((
        {"unet": ["mischief", "UNet"]},
        {"extra": ["os", "system"]},
        {"_class_name": ["mischief", "Pipeline"]},
    )):  # fmt: skip
        model = changed_index(unconditional, tmp_path / str(number), **changes)
        for folder in (model, model / "unet"):
            (folder / "mischief.py").write_text(code)
        with pytest.raises(GeneratorError, match="never run"):
            make(model).draw(1, 0)
    assert not (tmp_path / "ran").exists()


def test_a_broken_model(unconditional: Path, tmp_path: Path) -> None:
    model = changed_index(unconditional, tmp_path / "model")
    weights = next(model.rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises((GeneratorError, MissingWeights), match="cannot be loaded"):
        make(model).draw(1, 0)
    (model / "model_index.json").write_text("{")
    with pytest.raises((GeneratorError, MissingWeights), match="cannot be loaded"):
        make(model).draw(1, 0)


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({}, "needs the option 'model'"),
        ({"model": "a/b", "prompts": []}, "'prompts' must be a list"),
        ({"model": "a/b", "prompts": [1]}, "'prompts' must be a list"),
        ({"model": "a/b", "steps": 0}, "'steps'"),
        ({"model": "a/b", "width": 1.5}, "'width'"),
        ({"model": "a/b", "guidance_scale": "much"}, "'guidance_scale'"),
        ({"model": "a/b", "trust_remote_code": True}, "no option 'trust_remote_code'"),
    ],
)
def test_options_are_checked(options: dict[str, Any], reason: str) -> None:
    with pytest.raises(InvalidManifest, match=reason):
        options_to_generator({"type": "diffusers", **options})


def test_digest_follows_weights_and_prompts(unconditional: Path, tmp_path: Path) -> None:
    one = DiffusersGenerator(str(unconditional)).digest()
    assert DiffusersGenerator(str(unconditional)).digest() == one
    assert DiffusersGenerator(str(unconditional), prompts=["a"]).digest() != one
    assert DiffusersGenerator("a/b").digest() != DiffusersGenerator("a/b", revision="1").digest()
    model = changed_index(unconditional, tmp_path / "model")
    before = DiffusersGenerator(str(model)).digest()
    weights = next(model.rglob("*.safetensors"))
    weights.write_bytes(weights.read_bytes() + b"\0")
    assert DiffusersGenerator(str(model)).digest() != before
