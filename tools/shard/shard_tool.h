/* shard_tool.h - the commands of lt-shard: each parses its own options and does its work. */
#ifndef LT_TOOLS_SHARD_SHARD_TOOL_H
#define LT_TOOLS_SHARD_SHARD_TOOL_H

#include "base/options.h"
#include "batch/dataset.h"

typedef unsigned long long ull; /* for printf */

lt_err shard_build(int argc, char **argv); /* token streams -> data set */
lt_err shard_info(int argc, char **argv);
lt_err shard_verify(int argc, char **argv);
lt_err shard_cat(int argc, char **argv);
lt_err shard_repair(int argc, char **argv);
lt_err shard_manifest(int argc, char **argv);

/* A manifest or one shard, told apart by its first bytes. */
LT_MUST_USE lt_err shard_open_any(lt_dataset **out, const char *path);

#endif
