/* lt-bench - measures correctness and speed; one subcommand a file. */
#include "base/log.h"
#include "bench.h"
#include "train/rank_life.h"

#include <string.h>

static const lt_option options[] = { { 0 } };

static const lt_command command = {
    "lt-bench",
    "SUBCOMMAND [options]",
    "measure correctness and speed",
    "golden DIR...        error of logits, loss, gradients, ten AdamW steps against a reference\n"
    "train                time of whole training steps on random tokens, by class of operation\n"
    "gemm                 time and errors of the matrix products of a training step\n"
    "attention            time and errors of attention, forward and backward\n"
    "ops                  time of the operations that live on memory bandwidth\n"
    "comm                 time and errors of the collectives, under mpirun\n"
    "dataparallel         ZeRO against DataParallel, and PyTorch: the table and a chart\n"
    "scale                throughput by number of GPUs and ZeRO stage\n"
    "load DATA            rate and CPU time of batches from shards\n"
    "tokenize FILE...     rate of encoding text, by threads\n"
    "init CONFIG          the weights that a run starts from, as a Hugging Face folder\n"
    "batches CONFIG       the batches of a run, for another program to train on\n\n"
    "lt-bench SUBCOMMAND --help tells more.",
    options,
};

static const struct {
    const char *name;
    lt_err (*run)(int argc, char **argv);
} subcommands[] = { { "golden", bench_golden },
                    { "train", bench_train },
                    { "gemm", bench_gemm },
                    { "attention", bench_attention },
                    { "ops", bench_ops },
                    { "load", bench_load },
                    { "tokenize", bench_tokenize },
                    { "init", bench_init },
                    { "batches", bench_batches },
                    { "comm", bench_comm },
                    { "dataparallel", bench_dataparallel },
                    { "scale", bench_scale } };

static lt_err run(int argc, char **argv)
{
    lt_opt_list rest = { 0 };
    bool done = false;
    char unused = 0;
    lt_err err;

    for (size_t i = 0; argc > 1 && i < sizeof subcommands / sizeof *subcommands; i++)
        if (strcmp(argv[1], subcommands[i].name) == 0)
            return subcommands[i].run(argc - 1, argv + 1);
    LT_TRY(err = lt_options_parse(&command, argc, argv, &unused, &rest, &done));
    if (!done)
        err = lt_fail(LT_EUSAGE,
                      "expected a subcommand (golden, train, gemm, attention, ops, comm, "
                      "dataparallel, scale, load, tokenize, init, batches), found %s%s%s",
                      rest.n ? "\"" : "", rest.n ? rest.items[0] : "nothing", rest.n ? "\"" : "");
fail:
    lt_opt_list_release(&rest);
    return err;
}

int main(int argc, char **argv)
{
    lt_rank_log_init("lt-bench");
    return lt_log_exit(run(argc, argv));
}
