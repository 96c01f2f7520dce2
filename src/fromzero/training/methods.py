"""Ways to fine-tune: what of a base model is trained: all of it, its new head, or adapters beside its layers.

A method changes the model in place, which stays of its own class: tasks use it as any other. Adapters are
added into the weights in the end (`merged`), so that what is saved loads anywhere. What is frozen is in
training mode all the same: where it drops out, it does so in training, as it would in full fine-tuning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Protocol, cast

from fromzero.errors import UserError
from fromzero.suggestions import hint

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

ALL_LINEAR = "all-linear"


class Method(Protocol):
    def prepare(self, model: PreTrainedModel) -> None:
        """Marks what is trained, in place, and adds what has to be; draws from torch's global generator.

        Raises:
            UserError: the model is of a kind that cannot be trained so.
        """


class Full:
    """All parameters that the task leaves trainable."""

    def prepare(self, model: PreTrainedModel) -> None:
        pass


class Head:
    """The new head alone, on what the base makes of its input."""

    def prepare(self, model: PreTrainedModel) -> None:
        head = dict(head_parameters(model))
        if not head:
            raise UserError(
                f"finetune.method=head: all of {type(model).__name__} comes from its base, there is no new "
                "head to train: use method@finetune.method=full or lora"
            )
        for name, parameter in model.named_parameters():
            parameter.requires_grad = name in head


class LoRA:
    """Low-rank adapters beside the linear layers of the base (Hu et al. 2021), and the new head, if any.

    A layer W becomes W + alpha / r · B·A, of which A and B are trained.
    """

    def __init__(
        self,
        r: int,
        alpha: float,
        dropout: float = 0.0,
        target_modules: Sequence[str] | str = ALL_LINEAR,
    ) -> None:
        """
        Args:
            dropout: of what goes into the adapters.
            target_modules: ends of the names of layers, e.g. `[q_proj, v_proj]`; `all-linear`: every one.
        """
        if r < 1 or alpha <= 0 or not 0 <= dropout < 1:
            raise UserError(
                f"finetune.method: r={r} alpha={alpha} dropout={dropout}: r is 1 or more, alpha above 0, "
                "dropout a share below 1"
            )
        self.r, self.alpha, self.dropout, self.target_modules = r, alpha, dropout, target_modules

    def prepare(self, model: PreTrainedModel) -> None:
        self.add_adapters(model, self.targets(model))

    def targets(self, model: PreTrainedModel) -> list[str]:
        linear = list(linear_layers(model))
        if not linear:
            raise UserError(
                f"finetune.method: {type(model).__name__} has no linear layers for adapters to stand beside: "
                "use method@finetune.method=full or head"
            )
        if self.target_modules == ALL_LINEAR:
            return linear
        ends = [self.target_modules] if isinstance(self.target_modules, str) else self.target_modules
        for end in ends:
            if not any(_ends_with(name, end) for name in linear):
                kinds = sorted({name.rpartition(".")[2] for name in linear})
                raise UserError(
                    f"finetune.method.target_modules: no linear layer of {type(model).__name__} is named "
                    f"{end!r}{hint(end, kinds)} (there are: {', '.join(kinds)})"
                )
        return [name for name in linear if any(_ends_with(name, end) for end in ends)]

    def add_adapters(self, model: PreTrainedModel, targets: list[str]) -> None:
        from peft import LoraConfig, inject_adapter_in_model

        head = [parameter for _, parameter in head_parameters(model)]
        config = LoraConfig(
            r=self.r, lora_alpha=cast("int", self.alpha), lora_dropout=self.dropout, target_modules=targets
        )
        inject_adapter_in_model(config, model)  # freezes all but what it injects
        for parameter in head:
            parameter.requires_grad = True


class QLoRA(LoRA):
    """LoRA on a base in 4-bit NormalFloat, its constants quantised again (Dettmers et al. 2023).

    The base is read in float32 into main memory and becomes 4-bit on its way to the GPU. In the end it is
    float32 again, of the values that the adapters were trained on.

    Raises:
        UserError: there is no CUDA GPU, or no bitsandbytes.
    """

    def __init__(
        self,
        r: int,
        alpha: float,
        dropout: float = 0.0,
        target_modules: Sequence[str] | str = ALL_LINEAR,
    ) -> None:
        import torch

        super().__init__(r, alpha, dropout, target_modules)
        lacking = "no CUDA GPU is here" if not torch.cuda.is_available() else None
        if find_spec("bitsandbytes") is None:
            lacking = f"{lacking + ', and ' if lacking else ''}bitsandbytes is not installed"
        if lacking:
            raise UserError(
                f"finetune.method=qlora: {lacking}: use method@finetune.method=lora, or, on a machine with "
                "a CUDA GPU, `pip install bitsandbytes`"
            )

    def prepare(self, model: PreTrainedModel) -> None:
        from fromzero.training.four_bit import quantise

        targets = self.targets(model)
        quantise(model, linear_layers(model))
        marked: Any = model
        marked.is_loaded_in_4bit = True  # where peft looks which kind of adapter is needed
        self.add_adapters(model, targets)
        del marked.is_loaded_in_4bit


def refuse_machine(method: Method, *, accelerator: str, sharded: bool) -> None:
    """Raises `UserError` where the method cannot be trained on a machine of that kind."""
    name = type(method).__name__.lower()
    if sharded and not isinstance(method, Full):
        raise UserError(
            f"finetune.method={name} is not trained in shards: with trainer=fsdp use "
            f"method@finetune.method=full, or trainer=ddp"
        )
    if accelerator == "cpu" and isinstance(method, QLoRA):
        raise UserError("finetune.method=qlora multiplies on a GPU alone: leave out trainer.accelerator=cpu")


def merged(model: nn.Module) -> nn.Module:
    """`model` with its adapters, if it has any, added into its weights: in place, and as an ordinary one."""
    if not hasattr(model, "peft_config"):
        return model
    from peft.tuners.lora import LoraLayer

    from fromzero.training.four_bit import dequantise

    dequantise(model)
    for name, layer in list(model.named_modules()):
        if isinstance(layer, LoraLayer):
            adapter: Any = layer
            base = adapter.get_base_layer()
            base.weight.data += adapter.get_delta_weight("default").to(base.weight)
            model.set_submodule(name, base)
    del model.peft_config
    return model


def head_parameters(model: PreTrainedModel) -> Iterator[tuple[str, nn.Parameter]]:
    """What a task draws anew on top of a base: all outside its body, and the pooler of BERT and its like.

    The head of a language model, which speaks the vocabulary of the base, came with it and is none.
    """
    prefix = model.base_model_prefix
    if not hasattr(model, prefix) or _output_embeddings(model) is not None:
        return
    for name, parameter in model.named_parameters():
        if not name.startswith(f"{prefix}.") or name.startswith(f"{prefix}.pooler."):
            yield name, parameter


def linear_layers(model: PreTrainedModel) -> Iterator[str]:
    """Names of those of the base: neither in its new head, nor the head of a language model.

    Nor in torch's own transformer, which reads the weights of its layers past the layers themselves.
    """
    from torch import nn
    from transformers.pytorch_utils import Conv1D

    head = {id(parameter) for _, parameter in head_parameters(model)}
    opaque = (nn.MultiheadAttention, nn.TransformerEncoderLayer, nn.TransformerDecoderLayer)
    hidden = [f"{name}." for name, module in model.named_modules() if isinstance(module, opaque)]
    output = _output_embeddings(model)
    for name, module in model.named_modules():
        if (
            isinstance(module, nn.Linear | Conv1D)
            and module is not output
            and id(module.weight) not in head
            and not name.startswith(tuple(hidden))
        ):
            yield name


def set_dropout(model: PreTrainedModel, rate: float) -> None:
    """Of every place that drops out, whether it is a module or a number that a module, or the config, keeps.

    Raises:
        UserError: there is none.
    """
    from torch.nn.modules.dropout import _DropoutNd

    places: list[tuple[Any, str]] = [(model.config, name) for name in _rates(model.config.to_dict())]
    for module in model.modules():
        places += [(module, "p")] if isinstance(module, _DropoutNd) else []
        places += [(module, name) for name in _rates(vars(module))]
    if not places:
        raise UserError(f"finetune.dropout={rate}: {type(model).__name__} has no dropout: leave it null")
    for owner, name in places:
        setattr(owner, name, rate)


def _output_embeddings(model: Any) -> nn.Module | None:
    """The head of a language model."""
    found: nn.Module | None = model.get_output_embeddings()
    return found


def _rates(values: dict[str, Any]) -> list[str]:
    return [
        name
        for name, value in values.items()
        if re.search("dropout|pdrop", name) and isinstance(value, int | float) and not isinstance(value, bool)
    ]


def _ends_with(name: str, end: str) -> bool:
    return name == end or name.endswith(f".{end}")
