/* comm/watch_hub.h - the one place that hears all supervisors of a job; private to the watch.
 *
 * Lives in rank 0's supervisor and never blocks: its owner waits on lt_watch_hub_fd and calls
 * lt_watch_hub_work then, and a few times a second anyway. */
#ifndef LT_COMM_WATCH_HUB_H
#define LT_COMM_WATCH_HUB_H

#include "comm/watch_wire.h"

typedef struct lt_watch_hub lt_watch_hub;

/* Owns `listener`.  pid: of rank 0, which the members are told with every beat where it is.
 * hang_timeout: lt_watch_hub_set_timeout, 0 until then. */
LT_MUST_USE lt_err lt_watch_hub_open(lt_watch_hub **out, int listener, uint64_t key, int world,
                                     int pid, double now);
void lt_watch_hub_set_timeout(lt_watch_hub *h, double hang_timeout);
int lt_watch_hub_fd(const lt_watch_hub *h); /* readable when there is work */
void lt_watch_hub_work(lt_watch_hub *h, double now);
/* Ends the job with this exit status and without a word of its own. */
void lt_watch_hub_stop(lt_watch_hub *h, int status, double now);
/* Nobody needs it any more: all that joined have left, or have been stopped. */
bool lt_watch_hub_done(const lt_watch_hub *h, double now);
/* Done, but the word to stop did not reach everybody. */
bool lt_watch_hub_cut_off(const lt_watch_hub *h);
void lt_watch_hub_close(lt_watch_hub *h); /* NULL is fine */

#endif
