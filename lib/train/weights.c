/* train/weights.c - weights from a Hugging Face folder, slice by slice. */
#include "train/weights.h"

#include "ckpt/hf_model.h"
#include "train/ranks.h"

#include <stdlib.h>

static lt_err load_own(lt_engine *e, const char *folder)
{
    const lt_param_table *table = lt_engine_table(e);
    lt_hf_model *hf = NULL;
    lt_zero_piece *pieces = NULL;
    float *values = NULL;
    int n = 0;
    lt_err err;

    LT_TRY(err = lt_hf_model_open(&hf, folder));
    LT_TRY(err = lt_hf_model_check(hf, table));
    pieces = lt_zero_plan_pieces(lt_engine_zero_plan(e), table, &n);
    for (int i = 0; i < n; i++) {
        const lt_zero_piece *p = &pieces[i];

        LT_TRY(err = lt_alloc_array(&values, (uint64_t)p->count, sizeof(float), folder));
        LT_TRY(err = lt_hf_model_read(hf, &table->params[p->param], (uint64_t)p->first,
                                      (uint64_t)p->count, values));
        LT_TRY(err = lt_zero_write(lt_engine_store(e), LT_ZERO_MASTER, p, values));
        free(values);
        values = NULL;
    }
fail:
    free(values);
    free(pieces);
    lt_hf_model_close(hf);
    return err;
}

lt_err lt_engine_load_hf(lt_engine *e, const char *folder)
{
    lt_err err;

    LT_TRY(err = lt_ranks_agree(lt_engine_group(e), load_own(e, folder)));
    err = lt_zero_refresh(lt_engine_store(e));
fail:
    return err;
}
