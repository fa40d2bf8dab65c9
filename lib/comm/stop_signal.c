/* stop_signal.c - a flag, and when it was raised. */
#include "comm/stop_signal.h"

#include <signal.h>
#include <stddef.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t stop_number;
static struct timespec stop_time; /* written by the handler alone */

/* clock_gettime and _exit are safe here; the handled signals exclude each other. */
static void on_stop(int number)
{
    struct timespec now;
    double age;

    clock_gettime(CLOCK_MONOTONIC, &now);
    age =
        (double)(now.tv_sec - stop_time.tv_sec) + 1e-9 * (double)(now.tv_nsec - stop_time.tv_nsec);
    if (stop_number && age > 1)
        _exit(128 + number);
    if (!stop_number) {
        stop_time = now;
        stop_number = number;
    }
}

void lt_stop_catch(void)
{
    static const int numbers[] = { SIGTERM, SIGINT, SIGUSR1 };
    /* What is under way when it comes, MPI's start or a file read, goes on. */
    struct sigaction action = { .sa_handler = on_stop, .sa_flags = SA_RESTART };

    sigemptyset(&action.sa_mask);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaddset(&action.sa_mask, numbers[i]);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++)
        sigaction(numbers[i], &action, NULL);
}

int lt_stop_signal(void)
{
    return stop_number;
}
