#include "base/clock.h"

#include <math.h>
#include <stdio.h>
#include <time.h>

/* The largest number of days that Python's timedelta holds. */
#define MAX_DAYS 999999999LL
#define DAY_S 86400LL

double reid_clock_seconds(void)
{
    return (double)reid_clock_mono_ns() * 1e-9;
}

int64_t reid_clock_mono_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

int64_t reid_clock_wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Rounds towards minus infinity, so that the rest is never negative. */
static int64_t floor_div(int64_t value, int64_t divisor)
{
    int64_t quotient = value / divisor;
    return value % divisor < 0 ? quotient - 1 : quotient;
}

void reid_format_duration(char buffer[32], double seconds)
{
    if (isnan(seconds)) {
        snprintf(buffer, 32, "unknown");
        return;
    }
    double limit = (double)(MAX_DAYS * DAY_S);
    int64_t whole = (int64_t)fmax(-limit, fmin(limit, seconds));
    int64_t days = floor_div(whole, DAY_S);
    int rest = (int)(whole - days * DAY_S);
    int used = 0;
    if (days != 0)
        used = snprintf(buffer, 32, "%lld day%s, ", (long long)days,
                        days == 1 || days == -1 ? "" : "s");
    snprintf(buffer + used, (size_t)(32 - used), "%d:%02d:%02d", rest / 3600, rest / 60 % 60,
             rest % 60);
}

void reid_format_time(char buffer[32], int64_t wall_ms)
{
    time_t seconds = (time_t)floor_div(wall_ms, 1000);
    struct tm utc;
    if (!gmtime_r(&seconds, &utc) || strftime(buffer, 32, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        snprintf(buffer, 32, "unknown");
}
