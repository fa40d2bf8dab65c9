/* lt-shard - token streams into compressed shards, and what can be asked of shards. */
#include "shard_tool.h"

#include "base/log.h"
#include "base/mem.h"

#include <string.h>

static const struct {
    const char *name;
    lt_err (*run)(int argc, char **argv);
} commands[] = {
    { "info", shard_info },     { "verify", shard_verify },     { "cat", shard_cat },
    { "repair", shard_repair }, { "manifest", shard_manifest },
};

int main(int argc, char **argv)
{
    lt_log_init("lt-shard", LT_LOG_INFO);
    for (size_t i = 0; argc > 1 && i < LT_COUNT(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0)
            return lt_log_exit(commands[i].run(argc - 1, argv + 1));
    return lt_log_exit(shard_build(argc, argv));
}
