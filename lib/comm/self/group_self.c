/* comm/self/group_self.c - the group of one rank: messages to itself. */
#include "comm/group_parts.h"

#include <stdlib.h>
#include <string.h>

static lt_err self_all_gather(lt_group *g, void *all, const void *mine, size_t bytes)
{
    (void)g;
    memcpy(all, mine, bytes);
    return LT_OK;
}

static lt_err self_broadcast(lt_group *g, void *data, size_t bytes, int root)
{
    (void)g, (void)data, (void)bytes, (void)root;
    return LT_OK;
}

static lt_err self_gather(lt_group *g, const void *mine, void *const *parts, const uint64_t *bytes)
{
    (void)g;
    if (bytes[0] > 0)
        memcpy(parts[0], mine, bytes[0]);
    return LT_OK;
}

static void self_close(lt_group *g)
{
    free(g);
}

static const lt_group_ops self_ops = { .all_gather = self_all_gather,
                                       .broadcast = self_broadcast,
                                       .gather = self_gather,
                                       .close = self_close };

lt_group *lt_group_self_new(void)
{
    lt_group *g = lt_new0(sizeof *g);

    lt_group_init(g, &self_ops, LT_LAUNCH_NONE, 0, 1);
    return g;
}
