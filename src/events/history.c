#include "events/history.h"

#include <math.h>
#include <stdlib.h>

#include "base/alloc.h"
#include "base/compiler.h"

#define FIRST_CAPACITY 64
#define STACK_WINDOW 1024 /* the longest window of the hooks and writers is 1000 */

/* While the ring grows, `first` is 0: nothing is dropped before the maximum is reached. The first
 * piece is small and never fails, so that a history is not left without a sample. */
static reid_status grow(reid_history *history, reid_error *err)
{
    if (history->capacity == 0) {
        history->samples = reid_xmalloc(FIRST_CAPACITY * sizeof *history->samples);
        history->capacity = FIRST_CAPACITY;
        return REID_OK;
    }
    size_t capacity = REID_MIN(history->capacity * 2, (size_t)REID_HISTORY_MAX);
    void *samples = reid_alloc_grow(history->samples, capacity, sizeof *history->samples);
    if (!samples)
        return reid_fail(err, REID_ERR_EXHAUSTED, "out of memory for a history of %zu values",
                         capacity);
    history->samples = samples;
    history->capacity = capacity;
    return REID_OK;
}

reid_status reid_history_add(reid_history *history, double value, int64_t iter, reid_error *err)
{
    if (history->count == history->capacity && history->capacity < REID_HISTORY_MAX)
        REID_TRY(grow(history, err));
    size_t place = (history->first + history->count) % history->capacity;
    history->samples[place] = (reid_history_sample){.value = value, .iter = iter};
    if (history->count < history->capacity)
        history->count++;
    else
        history->first = (history->first + 1) % history->capacity;
    history->total++;
    history->global_avg += (value - history->global_avg) / (double)history->total;
    return REID_OK;
}

void reid_history_fini(reid_history *history)
{
    if (!history)
        return;
    free(history->samples);
    *history = (reid_history){0};
}

reid_history_sample reid_history_at(const reid_history *history, size_t index)
{
    REID_ASSERT(index < history->count);
    return history->samples[(history->first + index) % history->capacity];
}

double reid_history_latest(const reid_history *history)
{
    REID_ASSERT(history->count > 0);
    return reid_history_at(history, history->count - 1).value;
}

/* Hoare's selection: moves the value that a sort would put at `place` there, smaller ones before
 * it. Unlike qsort it takes no memory. No NaN among the values. */
static double select_value(double *values, size_t count, size_t place)
{
    size_t low = 0, high = count - 1;
    while (low < high) {
        double pivot = values[low + (high - low) / 2];
        size_t i = low, j = high;
        for (;; i++, j--) {
            while (values[i] < pivot)
                i++;
            while (values[j] > pivot)
                j--;
            if (i >= j)
                break;
            double value = values[i];
            values[i] = values[j];
            values[j] = value;
        }
        if (place <= j)
            high = j;
        else
            low = j + 1;
    }
    return values[place];
}

static double median_of(double *values, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (isnan(values[i]))
            return values[i];
    }
    double upper = select_value(values, count, count / 2);
    if (count % 2)
        return upper;
    double lower = values[0];
    for (size_t i = 1; i < count / 2; i++)
        lower = REID_MAX(lower, values[i]);
    return (lower + upper) / 2;
}

double reid_history_median(const reid_history *history, size_t window)
{
    size_t count = REID_MIN(window, history->count);
    REID_ASSERT(count > 0);
    double few[STACK_WINDOW];
    double *values = count <= STACK_WINDOW ? few : reid_xmalloc(count * sizeof *values);
    for (size_t i = 0; i < count; i++)
        values[i] = reid_history_at(history, history->count - count + i).value;
    double median = median_of(values, count);
    if (values != few)
        free(values);
    return median;
}

double reid_history_avg(const reid_history *history, size_t window)
{
    size_t count = REID_MIN(window, history->count);
    REID_ASSERT(count > 0);
    double sum = 0;
    for (size_t i = 0; i < count; i++)
        sum += reid_history_at(history, history->count - count + i).value;
    return sum / (double)count;
}

double reid_history_global_avg(const reid_history *history)
{
    REID_ASSERT(history->total > 0);
    return history->global_avg;
}
