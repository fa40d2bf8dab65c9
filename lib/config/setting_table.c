/* config/setting_table.c - our own sections of the option table.  DeepSpeed's are in
 * setting_deepspeed.c; where both name one setting, the row here owns the field. */
#include "config/setting_rows.h"

static const lt_setting_word words_precision[] = {
    { "fp32", LT_F32 }, { "bf16", LT_BF16 }, { "fp16", LT_F16 }, { NULL, 0 }
};

static const lt_setting_word words_activation[] = {
    { "gelu_new", LT_ACT_GELU_TANH },
    { "gelu", LT_ACT_GELU_ERF },
    { "relu", LT_ACT_RELU },
    { "silu", LT_ACT_SILU },
    { NULL, 0 },
};

static const lt_setting_word words_schedule[] = {
    { "cosine", LT_LR_COSINE },
    { "linear", LT_LR_LINEAR },
    { "constant", LT_LR_CONSTANT },
    { "WarmupLR", LT_LR_DS_WARMUP },
    { "WarmupDecayLR", LT_LR_DS_WARMUP_DECAY },
    { "WarmupCosineLR", LT_LR_DS_WARMUP_COSINE },
    { "OneCycle", LT_LR_DS_ONE_CYCLE },
    { "LRRangeTest", LT_LR_DS_RANGE_TEST },
    { NULL, 0 },
};

static const lt_setting_word words_device[] = {
    { "auto", LT_DEVICE_AUTO }, { "cpu", LT_DEVICE_CPU }, { "cuda", LT_DEVICE_CUDA }, { NULL, 0 }
};

static const lt_setting_word words_device_map[] = { { "balanced", LT_DEVICE_MAP_BALANCED },
                                                    { "auto", LT_DEVICE_MAP_BALANCED },
                                                    { NULL, 0 } };

static const lt_setting_word words_attention[] = { { "auto", LT_ATTENTION_AUTO },
                                                   { "cudnn", LT_ATTENTION_CUDNN },
                                                   { "reference", LT_ATTENTION_REFERENCE },
                                                   { NULL, 0 } };

const lt_setting lt_settings_ours[] = {
    ROW_SECTION("model", "What is trained."),
    ROW_TEXT(OURS, "model.name", model.name, NULL,
             "gpt2, gpt2-medium, gpt2-large or gpt2-xl; gpt2 unless model.path is given"),
    ROW_TEXT(OURS, "model.path", model.path, NULL,
             "a Hugging Face folder: its config.json and weights start the run"),
    ROW_WORD(OURS, "model.precision", model.precision, words_precision, "fp32",
             "type of activations and GEMM inputs; the optimizer always keeps fp32"),
    ROW_REAL(OURS, "model.dropout", model.dropout, "0", 0, 0.99,
             "embedding, residual and attention dropout"),
    ROW_WORD(OURS, "model.attention", model.attention, words_attention, "auto",
             "on a GPU; auto: cuDNN where it is present and takes the shape, else our own kernels; "
             "cudnn: nothing else; reference: our own kernels"),
    ROW_INT(OURS, "model.vocab_size", model.vocab_size, NULL, 1, 1 << 24,
            "in place of the named model's; with model.path it must agree with config.json"),
    ROW_INT(OURS, "model.n_positions", model.n_positions, NULL, 1, 1 << 24,
            "longest sequence, likewise"),
    ROW_INT(OURS, "model.n_layer", model.n_layer, NULL, 1, 4096, "blocks, likewise"),
    ROW_INT(OURS, "model.n_embd", model.n_embd, NULL, 1, 1 << 20, "width, likewise"),
    ROW_INT(OURS, "model.n_head", model.n_head, NULL, 1, 1 << 16,
            "attention heads, likewise; divides n_embd"),
    ROW_INT(OURS, "model.n_inner", model.n_inner, NULL, 1, 1 << 22,
            "width of the feed-forward layer, likewise; 4 n_embd when n_embd is given"),
    ROW_WORD(OURS, "model.activation", model.activation, words_activation, NULL,
             "of the feed-forward layer, likewise"),
    ROW_REAL(OURS, "model.layer_norm_epsilon", model.layer_norm_epsilon, NULL, 1e-12, 0.1,
             "likewise"),
    ROW_REAL(OURS, "model.initializer_range", model.initializer_range, NULL, 0, 10,
             "standard deviation of the first weights, likewise"),
    ROW_BOOL(OURS, "model.tie_word_embeddings", model.tie_word_embeddings, NULL,
             "the LM head shares the token embedding, likewise"),

    ROW_SECTION("training",
                "Batch: global_batch_size = batch_size x gradient_accumulation_steps x ranks, in "
                "sequences. Any two give the third, exactly; batch_size or global_batch_size alone "
                "means accumulation 1. Length: exactly one of steps, epochs and tokens."),
    ROW_INT(OURS, "training.batch_size", training.batch_size, NULL, 1, 1 << 20,
            "sequences of one rank (GPU) in one micro-batch; 8 when nothing tells"),
    ROW_INT(OURS, "training.micro_batch_size", training.batch_size, NULL, 1, 1 << 20, "the same"),
    ROW_INT(OURS, "training.gradient_accumulation_steps", training.gradient_accumulation_steps,
            NULL, 1, 1 << 20, "micro-batches of one optimizer step"),
    ROW_INT(OURS, "training.global_batch_size", training.global_batch_size, NULL, 1, 1LL << 40,
            "sequences of one optimizer step over all ranks"),
    ROW_INT(OURS, "training.steps", training.steps, NULL, 1, 1e15, "length in optimizer steps"),
    ROW_INT(OURS, "training.epochs", training.epochs, NULL, 1, 1e9,
            "length in passes over the data; 1 when no length is given"),
    ROW_INT(OURS, "training.tokens", training.tokens, NULL, 1, 1e18,
            "length in tokens, rounded up to a step"),
    ROW_REAL(OURS, "training.lr", training.lr, "3e-4", 0, 1000,
             "peak learning rate; 1e-3 with a deepspeed.optimizer block"),
    ROW_REAL(OURS, "training.min_lr", training.min_lr, NULL, 0, 1000,
             "where cosine and linear end; lr / 10 unless given"),
    ROW_INT(OURS, "training.warmup_steps", training.warmup_steps, "0", 0, 1e15,
            "steps of linear warm-up from 0 to lr; 1000 with a DeepSpeed schedule"),
    ROW_WORD(OURS, "training.lr_schedule", training.lr_schedule, words_schedule, "cosine",
             "after the warm-up; DeepSpeed's names follow its curves exactly, with "
             "deepspeed.scheduler.params"),
    ROW_REAL(OURS, "training.weight_decay", training.weight_decay, "0.1", 0, 100,
             "decoupled (AdamW); 0 with a deepspeed.optimizer block"),
    ROW_PAIR(OURS, "training.betas", training.betas, "0.9,0.95", 0, 1,
             "of Adam; [0.9, 0.999] with a deepspeed.optimizer block"),
    ROW_REAL(OURS, "training.eps", training.eps, "1e-8", 1e-30, 1, "of Adam"),
    ROW_BOOL(OURS, "training.decay_all", training.decay_all, "false",
             "weight decay on biases and norms too; true with a deepspeed.optimizer block"),
    ROW_REAL(OURS, "training.gradient_clipping", training.gradient_clipping, "1.0", 0, NO_BOUND,
             "largest global gradient norm; 0 is off"),
    ROW_INT(OURS, "training.seed", training.seed, "42", 0, NO_BOUND,
            "of weights, sample order, dropout and sampling"),
    ROW_BOOL(OURS, "training.deterministic", training.deterministic, "true",
             "false may trade reproducible bits for speed"),
    ROW_BOOL(OURS, "training.allow_tf32", training.allow_tf32, "false",
             "fp32 matrix products on a GPU may round their operands to TF32"),
    ROW_TIME(OURS, "training.max_wallclock", training.max_wallclock, "0",
             "save and exit with status 75 before the step that would pass this time since the "
             "start; 0: no limit"),
    ROW_TIME(OURS, "training.hang_timeout", training.hang_timeout, "30",
             "a job of several ranks ends when for this time and for ten steps no rank has moved; "
             "ten times as long for the first steps, loading, evaluating and saving; 0: never"),
    ROW_INT(OURS, "training.eval_every_steps", training.eval_every_steps, "500", 0, 1e15,
            "validation loss when data.val is there; 0: never"),
    ROW_INT(OURS, "training.eval_batches", training.eval_batches, "20", 0, 1e15,
            "micro-batches of each rank in one evaluation; 0: all of data.val"),
    ROW_INT(OURS, "training.sample_every_steps", training.sample_every_steps, "0", 0, 1e15,
            "write generated text to the log; 0: never"),
    ROW_TEXTS(OURS, "training.sample_prompts", training.sample_prompts, NULL,
              "one sample each; none: one sample from the end-of-text token"),
    ROW_INT(OURS, "training.sample_max_tokens", training.sample_max_tokens, "64", 1, 1 << 24,
            "length of a sample"),
    ROW_REAL(OURS, "training.sample_temperature", training.sample_temperature, "1.0", 0, 100,
             "0 takes the most likely token"),
    ROW_INT(OURS, "training.sample_top_k", training.sample_top_k, "0", 0, 1 << 24,
            "draw from the k most likely tokens; 0: from all"),
    ROW_REAL(OURS, "training.sample_top_p", training.sample_top_p, "1.0", 1e-6, 1,
             "draw from the fewest tokens of this probability together"),

    ROW_SECTION("data", "What is read. lt-shard writes manifests."),
    ROW_TEXT(OURS, "data.train", data.train, "data/train.manifest", "manifest to train on"),
    ROW_TEXT(OURS, "data.val", data.val, "data/val.manifest",
             "manifest to evaluate on; the default may be absent"),
    ROW_TEXT(OURS, "data.tokenizer", data.tokenizer, NULL,
             "tokenizer.json; unless given, the one beside the manifest"),
    ROW_INT(OURS, "data.seq_len", data.seq_len, NULL, 1, 1 << 24,
            "tokens of a sequence; n_positions unless given"),
    ROW_BOOL(OURS, "data.document_masking", data.document_masking, "false",
             "attention stops at document boundaries"),
    ROW_BOOL(OURS, "data.shuffle", data.shuffle, "true",
             "visit the sequences in an order drawn from training.seed"),

    ROW_SECTION("checkpoint", "What is kept, and where a run begins."),
    ROW_TEXT(OURS, "checkpoint.dir", checkpoint.dir, "checkpoints", "holds step-N folders"),
    ROW_INT(OURS, "checkpoint.every_steps", checkpoint.every_steps, "1000", 0, 1e15,
            "0: only at the end"),
    ROW_REAL(OURS, "checkpoint.every_minutes", checkpoint.every_minutes, "0", 0, 1e9, "0: off"),
    ROW_BOOL(OURS, "checkpoint.async", checkpoint.async, "true",
             "training goes on while a checkpoint is written; the last one is waited for; takes 12 "
             "bytes of host memory for each parameter that a rank owns"),
    ROW_INT(OURS, "checkpoint.keep_last", checkpoint.keep_last, "3", 0, 1e9,
            "older ones are removed after a save; 0 keeps all"),
    ROW_TEXT(
        OURS, "checkpoint.resume", checkpoint.resume, "auto",
        "auto: the newest checkpoint in dir that is not damaged, if there is any; never: start "
        "over, in a dir without later steps; or the folder of one checkpoint"),

    ROW_SECTION("logging", "What is told."),
    ROW_TEXT(OURS, "logging.dir", logging.dir, "logs",
             "holds metrics.jsonl and event files, of one run at a time"),
    ROW_INT(OURS, "logging.every_steps", logging.every_steps, "10", 1, 1e15,
            "steps between two lines"),
    ROW_BOOL(OURS, "logging.tensorboard", logging.tensorboard, "true", "write event files"),
    ROW_TEXT(OURS, "logging.tensorboard_dir", logging.tensorboard_dir, NULL,
             "logging.dir unless this or deepspeed.tensorboard.output_path is given"),
    ROW_BOOL(OURS, "logging.timing", logging.timing, "false", "time of each phase of a step"),

    ROW_WORD(OURS, "device", device, words_device, "auto",
             "auto: cuda if there is a usable GPU, else cpu"),
    ROW_WORD(OURS, "device_map", device_map, words_device_map, "balanced",
             "each rank of a host has a GPU of its own and the CPUs near it; more ranks than GPUs "
             "are refused"),
    ROW_INT(
        OURS, "threads", threads, "0", 0, 4096,
        "CPU threads of one rank; 0: one for each CPU that the launcher lets it use, shared with "
        "ranks that may use the same (mpirun of Open MPI: --bind-to none)"),
};
const size_t lt_n_settings_ours = LT_COUNT(lt_settings_ours);
