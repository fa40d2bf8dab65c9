/* base/clock.h - time. */
#ifndef LT_BASE_CLOCK_H
#define LT_BASE_CLOCK_H

double lt_now(void);       /* monotonic seconds */
double lt_wall_time(void); /* seconds since 1970 */

#endif
