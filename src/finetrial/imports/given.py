"""Keep account of a foreign configuration's keys: what was carried over, what was not, and why."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

_OFF: tuple[Any, ...] = (None, False, "", [], {}, "none", "None")
MACHINERY = "says where the run happens, logs and saves; finetrial has its own ways"
SPEED = "makes it faster or smaller and changes no result"
UNKNOWN = "finetrial has no such setting"

# Keys of every tool here that change nothing of what is learned. Whole names, or beginnings that end with *.
_MACHINERY = (
    "use_cpu no_cuda "
    "output_dir output logging* log_* save* push_to_hub hub_* report_to run_name wandb* mlflow* comet* "
    "trackio* swanlab* project tensorboard* use_tensorboard dataloader* ddp_* local_rank resume* overwrite* "
    "plot_loss do_* eval_* evals_* evaluation_strategy per_device_eval* load_best_model* metric_for* "
    "greater_is_better disable_tqdm preprocessing_num_workers dataset_num_proc dataset_prepared_path "
    "dataset_processes num_proc debug strict saves_per_epoch metric_logger profiler device env "
    "steps_per_report steps_per_eval val_batches test_batches test adapter_path train print_trainable* "
    "include_* skip_memory* full_determinism remove_unused_columns label_names accelerator_config push* "
    "early_stopping_patience_file _name_or_path prediction_loss_only ignore_data_skip "
    "average_tokens_across_devices data_seed length_column_name shuffle shuffle_dataset max_train_samples "
    "callbacks trust_remote_code_unsafe use_ray ray_* master_* num_workers lora_model_dir loss_watchdog* "
    "last_run_prepared save_adapter_weights_only log_every_n_steps log_peak_memory_stats batch_eval_metrics "
    "restore_callback* auto_find_batch_size model_type tokenizer_type is_llama_derived_model cache_dir "
    "hf_hub_token "
)
_SPEED = (
    "flash_attention flash_attn sdp_attention xformers_attention s2_attention eager_attention "
    "attn_implementation torch_compile* compile tf32 deepspeed* fsdp* use_liger_kernel liger* plugins "
    "enable_activation* activation_* optimizer_in_bwd fused use_cache use_unsloth* enable_liger_kernel "
    "low_cpu_mem_usage dtype_eval sample_packing* eval_sample_packing packing* neat_packing eval_packing "
    "padding_free pad_to* group_by_length lora_*_kernel disable_gradient_checkpointing "
    "use_gradient_checkpointing upcast* unsloth_* parallelism_config tensor_parallel* "
    "gradient_checkpointing_kwargs train_sampling_strategy bf16_full_eval fp16_full_eval "
    "grad_checkpoint_every context_parallel* sequence_parallel* random_state_pad ddp use_v1_kernel "
    "flex_attention cut_cross_entropy* "
)


def _matcher(names: str) -> re.Pattern[str]:
    return re.compile("|".join(re.escape(name).replace(r"\*", ".*") for name in names.split()))


_PATTERNS = ((_matcher(_MACHINERY), MACHINERY), (_matcher(_SPEED), SPEED))


@dataclass(slots=True)
class Given:
    """A configuration's keys and values. Whatever is neither carried nor left with a reason is named at the end."""

    content: Mapping[str, Any]
    prefix: str = ""
    carried: dict[str, str] = field(default_factory=dict)  # their key -> ours
    left: dict[str, str] = field(default_factory=dict)  # their key -> why not

    def get(self, key: str, default: Any = None) -> Any:
        """The value of a key; the default where it is absent or null."""
        value = self.content.get(key)
        return default if value is None else value

    def take(self, key: str, *, to: str, default: Any = None) -> Any:
        """The value of a key that is carried over to ours."""
        if self.content.get(key) is not None:
            self.carried[self.prefix + key] = to
        return self.get(key, default)

    def leave(self, key: str, why: str) -> None:
        """Name a key, where it is given and was not carried, as one that could not be carried over."""
        name = self.prefix + key
        if key in self.content and self.content[key] not in _OFF and name not in self.carried:
            self.left[name] = why

    def inner(self, key: str) -> Given:
        """A mapping within the configuration, with the same account."""
        value = self.content.get(key)
        content = value if isinstance(value, Mapping) else {}
        return Given(content, f"{self.prefix}{key}.", self.carried, self.left)

    def finish(self, *, seen: tuple[str, ...] = ()) -> None:
        """Account for every other key that is on; `seen` are those that were read in another way."""
        for key, value in self.content.items():
            name = self.prefix + str(key)
            known = name in self.carried or name in self.left or key in seen
            if not known and value not in _OFF:
                self.left[name] = _reason(str(key))

    def grouped(self) -> Iterator[tuple[str, list[str]]]:
        """The reasons, each with the keys that were left for it."""
        for why in dict.fromkeys(self.left.values()):
            yield why, [key for key, reason in self.left.items() if reason == why]


def _reason(key: str) -> str:
    return next((why for pattern, why in _PATTERNS if pattern.fullmatch(key)), UNKNOWN)
