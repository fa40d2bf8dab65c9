/* comm/stop_signal.h - the wish to save and stop, as SIGTERM, SIGINT or SIGUSR1.
 *
 * The handler only keeps the first signal; the loop looks between steps, so one that comes while a
 * run starts ends it after its first step.  A second one ends the process at once, unless it comes
 * within a second: launchers and supervisors may deliver one wish twice. */
#ifndef LT_COMM_STOP_SIGNAL_H
#define LT_COMM_STOP_SIGNAL_H

void lt_stop_catch(void);
int lt_stop_signal(void); /* the number, 0: none so far */

#endif
