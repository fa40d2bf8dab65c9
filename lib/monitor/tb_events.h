/* monitor/tb_events.h - a TensorBoard event file.
 *
 * DIR/events.out.tfevents.<time>.<host>.<pid> is a sequence of TFRecords (length, masked CRC-32C of
 * the length, data, masked CRC-32C of the data), each an Event protocol buffer with one Summary of
 * scalars.  Records are gathered in memory and written whole, so a reader that follows the file
 * never meets half of one, except after a crash, where it stops and takes up the next file.
 * A resumed run opens a new file in the same folder. */
#ifndef LT_MONITOR_TB_EVENTS_H
#define LT_MONITOR_TB_EVENTS_H

#include "monitor/metrics.h"

typedef struct lt_tb_events lt_tb_events;

/* Creates the folder and the file.  flush_seconds: how old unwritten records may get. */
LT_MUST_USE lt_err lt_tb_events_open(lt_tb_events **out, const char *dir, double flush_seconds);

LT_MUST_USE lt_err lt_tb_events_scalar(lt_tb_events *w, const char *tag, uint64_t x, double time,
                                       double value); /* stored as float */

/* All scalars of a step.  DeepSpeed's tags Train/Samples/{train_loss,lr,loss_scale,
 * elapsed_time_ms_{forward,backward,step}} have x = samples; ours, train/{tokens_per_second,
 * grad_norm,mfu}, eval/{loss,perplexity} and memory/peak_bytes, have x = step. */
LT_MUST_USE lt_err lt_tb_events_step(lt_tb_events *w, const lt_step_metrics *m);

LT_MUST_USE lt_err lt_tb_events_flush(lt_tb_events *w);
LT_MUST_USE lt_err lt_tb_events_close(lt_tb_events *w); /* flushes, frees; NULL is fine */

#endif
