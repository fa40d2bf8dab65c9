/* lt-train - trains a model from a configuration; `lt-train generate` writes text with one. */
#include "base/log.h"
#include "generate_cli.h"
#include "train/rank_life.h"
#include "train/report.h"
#include "train_args.h"

#include <string.h>

static bool trains(const train_args *a)
{
    return !a->print_config && !a->plan && !a->dry_run && !a->explain_step;
}

static lt_err report(const train_args *a, lt_config *config)
{
    lt_plan_request plan = { config->device == LT_DEVICE_CUDA ? "cuda" : "cpu", a->ranks,
                             a->gpu_memory, a->json };

    if (a->print_config)
        lt_config_print(config, stdout);
    if (a->plan)
        return lt_report_plan(config, &plan, stdout);
    if (a->dry_run)
        return lt_report_dry_run(config, stdout);
    return a->explain_step ? lt_report_explain(config, a->explain_step, stdout) : LT_OK;
}

static lt_err run(int argc, char **argv, lt_watch *watch)
{
    train_args a = { 0 };
    lt_config *config = NULL;
    lt_err err = train_args_read(&a, &config, argc, argv);

    if (err != LT_OK || (config && trains(&a)))
        err = lt_rank_train(err, config, watch);
    else if (config && lt_rank_is_first())
        err = report(&a, config);
    else if (a.docs && lt_rank_is_first())
        lt_config_docs(stdout);
    lt_config_free(config);
    return err;
}

int main(int argc, char **argv)
{
    lt_watch *watch = NULL;
    int status = 0;

    lt_rank_log_init("lt-train");
    if (argc > 1 && strcmp(argv[1], "generate") == 0)
        return lt_log_exit(generate_main(argc - 1, argv + 1));
    if (!lt_rank_begin(&watch, &status))
        return status;
    return lt_log_exit(run(argc, argv, watch));
}
