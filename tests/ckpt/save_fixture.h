/* save_fixture.h - the whole save protocol of a job of one rank. */
#ifndef LT_SAVE_FIXTURE_H
#define LT_SAVE_FIXTURE_H

#include "ckpt/checkpoint_save.h"

#include <inttypes.h>
#include <stdlib.h>

/* *final_path (may be NULL) gets "DIR/step-00000100"; free() it. */
static inline lt_err save_alone(const char *dir, const lt_ckpt_save_request *rq, char **final_path)
{
    char *tmp = NULL;
    lt_buf part = { 0 };
    bool published = false;
    const char *parts[1];
    lt_err err;

    LT_BUG_ON(rq->world != 1 || rq->rank != 0);
    LT_TRY(err = lt_ckpt_begin(dir, rq->step.step, &tmp));
    LT_TRY(err = lt_ckpt_write(tmp, rq, &part));
    parts[0] = lt_buf_cstr(&part);
    LT_TRY(err = lt_ckpt_commit(tmp, rq, parts, 1, &published));
    if (final_path)
        *final_path = lt_asprintf("%s/step-%08" PRIu64, dir, rq->step.step);
fail:
    if (err != LT_OK && tmp && !published)
        lt_ckpt_discard(tmp);
    lt_buf_release(&part);
    free(tmp);
    return err;
}

#endif
