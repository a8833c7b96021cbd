"""Small configurations as the tools' own examples are written, with the same keys and other values."""

LLAMA_FACTORY = """\
### model
model_name_or_path: org/small
trust_remote_code: true
### method
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 4
lora_target: all
### dataset
dataset: mine
template: qwen3_nothink
cutoff_len: 256
max_samples: 32
preprocessing_num_workers: 16
### output
output_dir: saves/small
logging_steps: 10
save_only_model: false
report_to: none
### train
per_device_train_batch_size: 2
gradient_accumulation_steps: 4
learning_rate: 1.0e-4
num_train_epochs: 3.0
lr_scheduler_type: cosine
warmup_ratio: 0.1
bf16: true
resume_from_checkpoint: null
val_size: 0.1
neftune_noise_alpha: 5
"""

AXOLOTL = """\
base_model: org/small
load_in_8bit: false
load_in_4bit: true
datasets:
  - path: rows.jsonl
    type:
      field_instruction: question
      field_output: answer
      format: "{instruction}\\nAnswer:"
val_set_size: 0.1
output_dir: ./out
adapter: qlora
lora_r: 16
lora_alpha: 32
lora_dropout: 0.05
lora_target_linear: true
sequence_len: 128
sample_packing: true
gradient_accumulation_steps: 2
micro_batch_size: 2
num_epochs: 2
optimizer: paged_adamw_8bit
lr_scheduler: cosine
learning_rate: 0.0002
warmup_steps: 4
weight_decay: 0.0
bf16: auto
tf32: false
special_tokens:
  pad_token: "<pad>"
loss_watchdog_threshold: 5.0
"""

TRL_YAML = """\
model_name_or_path: org/small
dataset_name: rows.jsonl
use_peft: true
lora_r: 8
lora_alpha: 16
lora_target_modules: [q_proj, v_proj]
learning_rate: 0.0001
lr_scheduler_type: constant
per_device_train_batch_size: 4
max_steps: 20
max_length: 128
packing: true
report_to: [tensorboard]
"""

TORCHTUNE = """\
output_dir: /tmp/small
model:
  _component_: torchtune.models.llama3_2.lora_llama3_2_1b
  lora_attn_modules: ['q_proj', 'v_proj', 'output_proj']
  apply_lora_to_mlp: True
  lora_rank: 64
  lora_alpha: 128
  lora_dropout: 0.0
tokenizer:
  _component_: torchtune.models.llama3.llama3_tokenizer
  path: /tmp/small/original/tokenizer.model
  max_seq_len: 256
checkpointer:
  _component_: torchtune.training.FullModelHFCheckpointer
  checkpoint_dir: org/small
  checkpoint_files: [model.safetensors]
  model_type: LLAMA3_2
dataset:
  _component_: torchtune.datasets.instruct_dataset
  source: json
  data_files: rows.jsonl
  column_map: {input: question, output: answer}
  packed: False
seed: null
batch_size: 4
optimizer:
  _component_: torch.optim.AdamW
  fused: True
  weight_decay: 0.01
  lr: 3e-4
lr_scheduler:
  _component_: torchtune.training.lr_schedulers.get_cosine_schedule_with_warmup
  num_warmup_steps: 4
loss:
  _component_: torchtune.modules.loss.CEWithChunkedOutputLoss
epochs: 2
gradient_accumulation_steps: 2
compile: False
metric_logger:
  _component_: torchtune.training.metric_logging.DiskLogger
  log_dir: /tmp/small/logs
device: cuda
dtype: bf16
"""

MLX = """\
model: org/small
train: true
fine_tune_type: lora
data: folder
seed: 3
num_layers: 16
batch_size: 4
iters: 20
learning_rate: 1e-5
steps_per_report: 10
adapter_path: adapters
max_seq_length: 256
lora_parameters:
  keys: ["self_attn.q_proj", "self_attn.v_proj"]
  rank: 8
  scale: 20.0
  dropout: 0.0
"""

UNSLOTH = """\
from unsloth import FastLanguageModel
from datasets import load_dataset
from trl import SFTTrainer, SFTConfig
max_seq_length = 2048
dtype = None
model, tokenizer = FastLanguageModel.from_pretrained(
    model_name = "org/small", max_seq_length = max_seq_length, dtype = dtype, load_in_4bit = True,
)
model = FastLanguageModel.get_peft_model(
    model, r = 16, target_modules = ["q_proj", "k_proj", "v_proj"], lora_alpha = 16, lora_dropout = 0,
    bias = "none", use_gradient_checkpointing = "unsloth", random_state = 3407, use_rslora = False,
)
dataset = load_dataset("json", data_files = "rows.jsonl", split = "train")
trainer = SFTTrainer(
    model = model, tokenizer = tokenizer, train_dataset = dataset.map(lambda row: row),
    args = SFTConfig(
        per_device_train_batch_size = 2, gradient_accumulation_steps = 4, warmup_steps = 5, max_steps = 60,
        learning_rate = 2e-4, logging_steps = 1, optim = "adamw_8bit", weight_decay = 0.01,
        lr_scheduler_type = "linear", seed = 3407, output_dir = "outputs",
    ),
)
"""
