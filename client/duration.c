#include "duration.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static double unit_of(char letter)
{
    switch (letter) {
    case 's':
        return 1;
    case 'm':
        return 60;
    case 'h':
        return 3600;
    case 'd':
        return 86400;
    default:
        return 0;
    }
}

/* Digits with at most one point, as in "1.5"; strtod would take more. */
static size_t number_length(const char *text)
{
    size_t length = strspn(text, "0123456789");
    if (length > 0 && text[length] == '.')
        length += 1 + strspn(text + length + 1, "0123456789");
    return length;
}

/* "1h30m": each unit is smaller than the one before it. */
static bool parse_units(const char *text, double *ret_seconds)
{
    double sum = 0, last = INFINITY;
    while (*text != '\0') {
        size_t length = number_length(text);
        double unit = text[length] == '\0' && last == INFINITY ? 1 : unit_of(text[length]);
        if (length == 0 || unit == 0 || unit >= last)
            return false;
        sum += strtod(text, NULL) * unit;
        last = unit;
        text += length + (text[length] != '\0');
    }
    *ret_seconds = sum;
    return true;
}

/* "8:00:00" */
static bool parse_clock(const char *text, double *ret_seconds)
{
    double parts[3];
    for (int i = 0; i < 3; i++) {
        size_t length = strspn(text, "0123456789");
        if (length == 0 || length > 6 || text[length] != (i < 2 ? ':' : '\0'))
            return false;
        parts[i] = strtod(text, NULL);
        text += length + 1;
    }
    *ret_seconds = parts[0] * 3600 + parts[1] * 60 + parts[2];
    return parts[1] < 60 && parts[2] < 60;
}

reid_status reidctl_duration_parse(const char *text, double *ret_seconds, reid_error *err)
{
    double seconds = 0;
    bool fine = strchr(text, ':') ? parse_clock(text, &seconds) : parse_units(text, &seconds);
    if (!fine || !isfinite(seconds) || seconds <= 0)
        return reid_fail(err, REID_ERR_INVALID,
                         "'%s' is no time; write it as 90s, 30m, 1h30m, 2d or 8:00:00", text);
    *ret_seconds = seconds;
    return REID_OK;
}
