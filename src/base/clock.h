/* Clocks. Durations come from the monotonic clock; wall time is for people only. Thread-safe. */
#ifndef REID_BASE_CLOCK_H
#define REID_BASE_CLOCK_H

#include <stdint.h>

double reid_clock_seconds(void);  /* monotonic, s */
int64_t reid_clock_mono_ns(void); /* monotonic, ns */
int64_t reid_clock_wall_ms(void); /* Unix time, ms */
/* "H:MM:SS", or "N day, H:MM:SS" from a day on, as Python's str(timedelta(seconds=int(s))). */
void reid_format_duration(char buffer[32], double seconds);
/* "2026-01-31T12:34:56Z" */
void reid_format_time(char buffer[32], int64_t wall_ms);

#endif
