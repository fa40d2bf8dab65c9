/* monitor/metrics.h - what one optimizer step measured, and metrics.jsonl, the log of all of them.
 *
 * metrics.jsonl holds one JSON object a line, steps strictly rising.  Numbers are printed with the
 * fewest digits that read back to the same bits; "loss_hex" is the loss as a C99 hexadecimal float,
 * so two runs compare bit for bit with cmp or diff.  NaN and infinity are strings ("nan", "inf",
 * "-inf"), because JSON has no such numbers.  A line goes out in one write(2): a reader that
 * follows the file sees whole lines.  The log is derived data: it never stops a resume.  A line
 * that a crash tore is dropped, and lines beyond the step that a run resumes from are cut off, so
 * no step appears twice.  Filling the numbers in is the training loop's work. */
#ifndef LT_MONITOR_METRICS_H
#define LT_MONITOR_METRICS_H

#include "base/lock.h"
#include "base/mem.h"

typedef struct lt_step_metrics {
    uint64_t step;    /* optimizer steps done, this one included: 1, 2, ... */
    uint64_t samples; /* sequences seen since the start of training, all ranks */
    uint64_t tokens;  /* tokens seen since the start of training, all ranks */
    double time;      /* seconds since 1970 at the end of the step */
    double loss;      /* mean over the counted tokens of the step, nats */
    double lr, grad_norm;
    double loss_scale; /* fp16; 1 elsewhere */
    double step_ms;    /* wall time of the whole step; below, its parts, 0 where not measured */
    double forward_ms, backward_ms, optimizer_ms, data_ms;
    double tokens_per_s; /* all ranks */
    double flops_per_s;  /* model FLOPs, all ranks */
    double mfu;          /* 0..1 of the hardware's peak; 0: peak unknown */
    double eta_s;        /* seconds to the last step */
    bool has_val;        /* an evaluation ran after this step: the next two are set */
    double val_loss, perplexity;
    uint64_t skipped_steps; /* since the start: fp16 overflows, no parameter changed */
    uint64_t peak_rss;      /* bytes, this host's largest rank */
    uint64_t device_bytes;  /* peak bytes on one device, 0 on the CPU */
    double power_w, sm_mhz, temperature_c; /* of a GPU when the line was made, 0 elsewhere */
    char throttle[48]; /* why its clocks are held down; "" not at all.  Progress line only */
} lt_step_metrics;

/* Appends one line with its newline.  Fields that are 0 because nobody measured them are left out:
 * the times of the parts, flops_per_s, mfu, eta_s, device_bytes; val_loss follows has_val. */
void lt_metrics_encode(lt_buf *out, const lt_step_metrics *m);

/* One line back into the struct.  step and loss must be there; other names are ignored. */
LT_MUST_USE lt_err lt_metrics_parse(lt_step_metrics *out, const char *line, size_t n,
                                    const char *name);

/* Every line of a metrics.jsonl, free() it.  An unfinished last line is left out: a run may be
 * writing it.  Any other bad line is LT_EFORMAT with file:line. */
LT_MUST_USE lt_err lt_metrics_load(lt_step_metrics **out, size_t *n, const char *path);

/* The writer of DIR/metrics.jsonl.  resume_step 0 is a new run: a log that is already there is kept
 * as DIR/metrics.jsonl.old.  Otherwise the log is cut back to steps <= resume_step, atomically. */
typedef struct lt_metrics_log lt_metrics_log;
/* Hold it while the log is open: two writers would mix their lines.  Makes dir. */
LT_MUST_USE lt_err lt_metrics_lock(lt_lock **out, const char *dir);
LT_MUST_USE lt_err lt_metrics_log_open(lt_metrics_log **out, const char *dir, uint64_t resume_step);
LT_MUST_USE lt_err lt_metrics_log_step(lt_metrics_log *log, const lt_step_metrics *m);
LT_MUST_USE lt_err lt_metrics_log_sync(lt_metrics_log *log); /* before a checkpoint commits */
void lt_metrics_log_close(lt_metrics_log *log);              /* NULL is fine */

#endif
